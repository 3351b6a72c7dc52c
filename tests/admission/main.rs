//! The chart's admission policies on a real API server. The operator does not run: nothing here needs it.

mod deny;
mod ground;
mod guard;
mod hold;
mod installation;
mod rights;
mod selectors;
mod wishes;
