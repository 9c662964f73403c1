//! The front door as a whole, in process, over a real data folder.

mod matrix;
mod samples;
mod world;
