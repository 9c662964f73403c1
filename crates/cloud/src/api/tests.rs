//! The front door as a whole, in process, over a real data folder.

mod clocks;
mod codes;
mod compat;
mod door;
mod exact;
mod matrix;
mod measurements;
mod people;
mod retention;
mod samples;
mod services;
mod surface;
mod tables;
mod tenants;
mod trail;
mod world;
