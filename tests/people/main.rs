//! The commands for people, as they run them, against a real API server. What the operator would say in the policies'
//! status is written by the tests, so that each says one thing.

mod asking;
mod examples;
mod looking;
mod releasing;
mod shop;
mod waiting;
