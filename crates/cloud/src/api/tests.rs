//! The front door as a whole, in process, over a real data folder.

mod door;
mod matrix;
mod measurements;
mod retention;
mod samples;
mod tenants;
mod world;
