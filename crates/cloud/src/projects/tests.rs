//! Projects as a whole, over a real catalogue.
