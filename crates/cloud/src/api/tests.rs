//! The front door as a whole, in process, over a real data folder.

mod door;
mod matrix;
mod measurements;
mod samples;
mod tables;
mod tenants;
mod world;
