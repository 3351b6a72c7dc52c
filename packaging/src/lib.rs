//! Makes container images without an engine: a root file system, a layer, an archive.
//!
//! The same input gives the same bytes, on every machine: names are sorted, owners are root, and there is one time for
//! everything, which is an argument.

mod archive;
mod certificates;
mod contents;
mod operator;
mod program;
mod root;

pub use archive::{Archive, Image, Packing};
pub use certificates::{CERTIFICATES_PATH, certificates};
pub use contents::contents;
pub use operator::{OPERATOR_PATH, operator_image, operator_root};
pub use program::program_image;
pub use root::Root;
