//! Contact and log over a real catalogue.
