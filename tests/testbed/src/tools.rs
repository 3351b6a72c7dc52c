//! Builds the programs of the control plane from Go modules, once, and keeps them in a cache.
//!
//! One `go.mod` pins them all; it and `go.sum` are compiled into this crate. The cache key is a hash of both and
//! of the build flags, so a change of either makes a new set, of which Go's own build cache compiles only what
//! differs. Two processes that need the tools at the same time do not disturb each other.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::guard;

const GO_MOD: &str = include_str!("../tools/go.mod");
const GO_SUM: &str = include_str!("../tools/go.sum");
/// The oldest Go release that builds the tools.
const OLDEST_GO: (u32, u32) = (1, 26);
/// How often a running build says that it is still running.
const HEARTBEAT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// Where the built programs are.
#[derive(Debug, Clone)]
pub struct Tools {
    /// etcd, the store behind the API server.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controllers: Deployments, ReplicaSets, garbage collection and so on.
    pub kube_controller_manager: PathBuf,
    /// The scheduler.
    pub kube_scheduler: PathBuf,
    /// The command line client.
    pub kubectl: PathBuf,
    /// kwok, which plays the kubelets.
    pub kwok: PathBuf,
    /// Helm.
    pub helm: PathBuf,
    /// Prometheus, with static, file and HTTP service discovery and no other.
    pub prometheus: PathBuf,
}

struct Tool {
    name: &'static str,
    package: &'static str,
    /// The module that holds the package, for its version in `go.mod`.
    module: &'static str,
    tags: &'static str,
    /// Linker settings that make the program tell its version.
    version_flags: fn(&str) -> String,
}

const TOOLS: [Tool; 8] = [
    Tool {
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        module: "go.etcd.io/etcd/server/v3",
        tags: "",
        version_flags: |_| String::new(),
    },
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    Tool {
        name: "kwok",
        package: "sigs.k8s.io/kwok/cmd/kwok",
        module: "sigs.k8s.io/kwok",
        tags: "",
        version_flags: |_| String::new(),
    },
    Tool {
        name: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        module: "helm.sh/helm/v4",
        tags: "",
        version_flags: |version| format!("-X helm.sh/helm/v4/internal/version.version={version}"),
    },
    Tool {
        name: "prometheus",
        package: "github.com/prometheus/prometheus/cmd/prometheus",
        module: "github.com/prometheus/prometheus",
        // Leaves out the discovery of machines in clouds, and with it most of what would have to be compiled.
        tags: "remove_all_sd",
        version_flags: |version| {
            format!("-X github.com/prometheus/common/version.Version={}", prometheus_release(version))
        },
    },
];

const fn kubernetes(name: &'static str, package: &'static str) -> Tool {
    Tool {
        name,
        package,
        module: "k8s.io/kubernetes",
        tags: "",
        version_flags: |version| {
            let mut parts = version.trim_start_matches('v').split('.');
            let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let variable = "-X k8s.io/component-base/version";
            format!("{variable}.gitVersion={version} {variable}.gitMajor={major} {variable}.gitMinor={minor}")
        },
    }
}

/// Prometheus 3.5.0 is module version v0.305.0.
fn prometheus_release(module_version: &str) -> String {
    let mut parts = module_version.trim_start_matches("v0.").split('.');
    let joined: u32 = parts.next().and_then(|part| part.parse().ok()).unwrap_or_default();
    format!("{}.{}.{}", joined / 100, joined % 100, parts.next().unwrap_or_default())
}

impl Tool {
    fn version(&self) -> Result<&'static str> {
        GO_MOD
            .lines()
            .filter_map(|line| line.trim().strip_prefix(self.module)?.strip_prefix(' '))
            .find_map(|rest| rest.split_whitespace().next().filter(|version| version.starts_with('v')))
            .with_context(|| format!("go.mod names no version of {}", self.module))
    }

    fn build_arguments(&self) -> Result<Vec<String>> {
        let mut arguments: Vec<String> =
            ["build", "-mod=readonly", "-trimpath", "-buildvcs=false"].map(str::to_owned).into();
        if !self.tags.is_empty() {
            arguments.extend(["-tags".to_owned(), self.tags.to_owned()]);
        }
        let link = format!("-s -w {}", (self.version_flags)(self.version()?));
        arguments.extend(["-ldflags".to_owned(), link.trim().to_owned()]);
        Ok(arguments)
    }
}

/// The tools, built first if they are not in the cache.
///
/// That takes minutes the first time; progress goes to standard error. The cache is the folder in
/// `TESTBED_CACHE`, or `error-budget-gatekeeper/tools` in the user's cache folder.
///
/// # Errors
/// When Go is missing, too old, or cannot build a tool.
pub fn tools() -> Result<Tools> {
    let folder = cache_folder()?.join(key()?);
    let missing = || TOOLS.iter().filter(|tool| !folder.join(tool.name).is_file()).collect::<Vec<_>>();
    if !missing().is_empty() {
        check_go()?;
        let module = folder.join("module");
        fs::create_dir_all(&module).with_context(|| format!("create {}", module.display()))?;
        let _lock = lock(&folder.join("lock"))?;
        fs::write(module.join("go.mod"), GO_MOD)?;
        fs::write(module.join("go.sum"), GO_SUM)?;
        // Looked at again, because another process may have built them while this one waited for the lock.
        let missing = missing();
        for (index, tool) in missing.iter().enumerate() {
            build(tool, &folder, &module, &format!("{} of {}", index + 1, missing.len()))?;
        }
    }
    let path = |name: &str| folder.join(name);
    Ok(Tools {
        etcd: path("etcd"),
        kube_apiserver: path("kube-apiserver"),
        kube_controller_manager: path("kube-controller-manager"),
        kube_scheduler: path("kube-scheduler"),
        kubectl: path("kubectl"),
        kwok: path("kwok"),
        helm: path("helm"),
        prometheus: path("prometheus"),
    })
}

fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("TESTBED_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").context("neither HOME nor TESTBED_CACHE is set")?).join(".cache"),
    };
    Ok(base.join("error-budget-gatekeeper").join("tools"))
}

fn key() -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(GO_MOD);
    hash.update(GO_SUM);
    for tool in &TOOLS {
        hash.update(format!("{} {} {:?}\n", tool.name, tool.package, tool.build_arguments()?));
    }
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn check_go() -> Result<()> {
    let advice = format!(
        "The testbed builds Kubernetes with the Go toolchain: install Go {}.{} or newer from https://go.dev/dl and put \
         it on the PATH",
        OLDEST_GO.0, OLDEST_GO.1
    );
    // Its own version, and not that of a newer toolchain it would fetch for a module that asks for one.
    let output = match go().args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").current_dir(env::temp_dir()).output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("there is no `go` command. {advice}"),
        Err(error) => return Err(error).context("run `go env GOVERSION`"),
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "`go env GOVERSION` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let found = parse_go_version(&version).with_context(|| format!("cannot read Go version {version:?}"))?;
    ensure!(found >= OLDEST_GO, "the `go` command is {version}, which is too old. {advice}");
    Ok(())
}

fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn go() -> Command {
    let mut command = Command::new("go");
    prepare(&mut command);
    command
}

/// Makes the build independent of the caller's Go settings, proxies and caches apart.
fn prepare(command: &mut Command) {
    command.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "").env_remove("GOOS").env_remove("GOARCH");
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say("another process is building the tools, waiting for it"),
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
    }
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn build(tool: &Tool, folder: &Path, module: &Path, position: &str) -> Result<()> {
    let name = tool.name;
    let version = tool.version()?;
    say(&format!("building {name} {version} ({position}); only the first build takes minutes"));
    let started = Instant::now();
    let partial = folder.join(format!("{name}.partial"));
    let log_path = folder.join(format!("{name}.log"));
    let log = File::create(&log_path)?;
    let errors = log.try_clone()?;
    let mut arguments = tool.build_arguments()?;
    arguments.extend(["-o".to_owned(), partial.display().to_string(), tool.package.to_owned()]);
    let mut child = guard::spawn(Path::new("go"), arguments, |command| {
        prepare(command);
        command.current_dir(module).stdout(log).stderr(errors);
    })
    .context("run `go build`")?;
    let mut next_heartbeat = HEARTBEAT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            guard::forget(child.id());
            break status;
        }
        if started.elapsed() >= next_heartbeat {
            say(&format!("still building {name} ({position}), {} s", started.elapsed().as_secs()));
            next_heartbeat += HEARTBEAT;
        }
        std::thread::sleep(POLL);
    };
    if !status.success() {
        let text = fs::read_to_string(&log_path).unwrap_or_default();
        bail!("cannot build {name} {version} ({status}):\n{}", text.trim_end());
    }
    fs::remove_file(&log_path)?;
    fs::rename(&partial, folder.join(name)).with_context(|| format!("keep {name}"))?;
    say(&format!("built {name} ({position}) in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Written past the capture of test output, since a silent test that takes minutes looks stuck.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "testbed: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_version_in_go_mod() {
        for tool in &TOOLS {
            let version = tool.version().expect("go.mod names every module");
            assert!(version.starts_with('v'), "{} is {version}", tool.name);
        }
    }

    #[test]
    fn kubernetes_programs_are_told_their_version() {
        let flags = (TOOLS[1].version_flags)("v1.36.3");
        assert!(flags.contains("gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains("gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
    }

    #[test]
    fn a_prometheus_module_version_becomes_its_release() {
        assert_eq!(prometheus_release("v0.313.5"), "3.13.5");
        assert_eq!(prometheus_release("v0.305.0"), "3.5.0");
    }

    #[test]
    fn go_versions_are_compared_by_number() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert!(parse_go_version("go1.9.7") < parse_go_version("go1.26"));
        assert_eq!(parse_go_version("devel"), None);
    }
}
