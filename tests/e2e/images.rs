//! The images that the pods run: the operator's, as `make image` made it, and the two that only tests need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use packaging::program_image;
use testbed::tools::tools;

/// The operator's image, by the name that `make image` gave it.
pub(crate) const OPERATOR_REPOSITORY: &str = "localhost/error-budget-gatekeeper";
/// The service and the load generator, by the name that `make workload-image` gave them.
pub(crate) const WORKLOAD: &str = "registry.example.com/platform/workload:v1";
/// Prometheus, by the name that its example manifest has.
const PROMETHEUS: &str = "docker.io/prom/prometheus:v3.13.5";

/// Archives of all images.
pub(crate) struct Images {
    pub(crate) archives: [PathBuf; 3],
    /// The operator's program, the very one of the image.
    pub(crate) operator_program: PathBuf,
}

impl Images {
    /// Finds the images, and packs that of Prometheus.
    ///
    /// # Errors
    /// When they were not made: `make e2e` does that.
    pub(crate) fn make() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image");
        let made = |name: &str| {
            let path = folder.join(name);
            fs::metadata(&path).with_context(|| format!("{} is missing: `make e2e` makes it", path.display()))?;
            anyhow::Ok(path)
        };
        let prometheus = folder.join("prometheus.tar");
        let packed = program_image(&tools()?.prometheus, PROMETHEUS)?.archive()?;
        fs::write(&prometheus, packed.file).with_context(|| format!("write {}", prometheus.display()))?;
        let program = format!("{}-unknown-linux-musl/release/error-budget-gatekeeper", std::env::consts::ARCH);
        Ok(Self {
            archives: [made("error-budget-gatekeeper.tar")?, made("workload.tar")?, prometheus],
            operator_program: made(&program)?,
        })
    }
}
