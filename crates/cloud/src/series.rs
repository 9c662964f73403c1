//! Project data over the store: append, scan, latest, live tail.
