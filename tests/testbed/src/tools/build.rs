//! Builds a set of programs from the Go modules that one `go.mod` pins, once, and keeps them in a cache.
//!
//! `go.mod` and `go.sum` are compiled into this crate. The cache key is a hash of both and of the build flags, so a
//! change of either makes a new set, of which Go's own build cache compiles only what differs. Two processes that need
//! the tools at the same time do not disturb each other.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::guard;

/// The oldest Go release that builds the tools.
const OLDEST_GO: (u32, u32) = (1, 26);
/// How often a running build says that it is still running.
const HEARTBEAT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// Programs that are built together.
pub(crate) struct ToolSet {
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// Go files of the set's own module: path and content.
    pub(crate) sources: &'static [(&'static str, &'static str)],
    pub(crate) tools: &'static [Tool],
}

/// One program.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// The module that holds what the program does, for its version in `go.mod`; none when it is all our own.
    pub(crate) module: Option<&'static str>,
    pub(crate) tags: &'static str,
    /// Linker settings that make the program tell its version.
    pub(crate) version_flags: fn(&str) -> String,
    /// Whether it is linked with C libraries of the machine.
    pub(crate) cgo: bool,
}

/// A program of Kubernetes.
pub(crate) const fn kubernetes(name: &'static str, package: &'static str) -> Tool {
    Tool {
        name,
        package,
        module: Some("k8s.io/kubernetes"),
        tags: "",
        version_flags: |version| {
            let mut parts = version.trim_start_matches('v').split('.');
            let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let variable = "-X k8s.io/component-base/version";
            format!("{variable}.gitVersion={version} {variable}.gitMajor={major} {variable}.gitMinor={minor}")
        },
        cgo: false,
    }
}

impl ToolSet {
    /// The folder that holds the programs, each under its name. Builds first what is not there.
    ///
    /// # Errors
    /// When Go is missing, too old, or cannot build a tool.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        let folder = cache_folder()?.join(self.key()?);
        if !self.missing(&folder).is_empty() {
            check_go()?;
            let module = folder.join("module");
            fs::create_dir_all(&module).with_context(|| format!("create {}", module.display()))?;
            let _lock = lock(&folder.join("lock"))?;
            self.write_module(&module)?;
            // Looked at again, because another process may have built them while this one waited for the lock.
            let missing = self.missing(&folder);
            for (index, tool) in missing.iter().enumerate() {
                self.build(tool, &folder, &module, &format!("{} of {}", index + 1, missing.len()))?;
            }
        }
        Ok(folder)
    }

    /// Whether the program was built before.
    pub(crate) fn is_built(&self, name: &str) -> Result<bool> {
        Ok(cache_folder()?.join(self.key()?).join(name).is_file())
    }

    fn missing(&self, folder: &Path) -> Vec<&Tool> {
        self.tools.iter().filter(|tool| !folder.join(tool.name).is_file()).collect()
    }

    fn write_module(&self, module: &Path) -> Result<()> {
        for (path, content) in [("go.mod", self.go_mod), ("go.sum", self.go_sum)].iter().chain(self.sources) {
            let path = module.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            }
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The version of a tool, or nothing for one of our own.
    pub(crate) fn version(&self, tool: &Tool) -> Result<&'static str> {
        let Some(module) = tool.module else { return Ok("") };
        self.go_mod
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("require ").strip_prefix(module)?.strip_prefix(' '))
            .find_map(|rest| rest.split_whitespace().next().filter(|version| version.starts_with('v')))
            .with_context(|| format!("go.mod names no version of {module}"))
    }

    fn build_arguments(&self, tool: &Tool) -> Result<Vec<String>> {
        let mut arguments: Vec<String> =
            ["build", "-mod=readonly", "-trimpath", "-buildvcs=false"].map(str::to_owned).into();
        if !tool.tags.is_empty() {
            arguments.extend(["-tags".to_owned(), tool.tags.to_owned()]);
        }
        let link = format!("-s -w {}", (tool.version_flags)(self.version(tool)?));
        arguments.extend(["-ldflags".to_owned(), link.trim().to_owned()]);
        Ok(arguments)
    }

    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.go_mod);
        hash.update(self.go_sum);
        for (path, content) in self.sources {
            hash.update(format!("{path} {content}"));
        }
        for tool in self.tools {
            hash.update(format!("{} {} {:?}\n", tool.name, tool.package, self.build_arguments(tool)?));
        }
        Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn build(&self, tool: &Tool, folder: &Path, module: &Path, position: &str) -> Result<()> {
        let name = tool.name;
        let title = format!("{name} {}", self.version(tool)?);
        let title = title.trim_end();
        say(&format!("building {title} ({position}); only the first build takes minutes"));
        let started = Instant::now();
        let partial = folder.join(format!("{name}.partial"));
        let log_path = folder.join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        let errors = log.try_clone()?;
        let mut arguments = self.build_arguments(tool)?;
        arguments.extend(["-o".to_owned(), partial.display().to_string(), tool.package.to_owned()]);
        let mut child = guard::spawn(Path::new("go"), arguments, |command| {
            prepare(command);
            if tool.cgo {
                command.env("CGO_ENABLED", "1");
            }
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
            bail!("cannot build {title} ({status}):\n{}", text.trim_end());
        }
        fs::remove_file(&log_path)?;
        fs::rename(&partial, folder.join(name)).with_context(|| format!("keep {name}"))?;
        say(&format!("built {name} ({position}) in {} s", started.elapsed().as_secs()));
        Ok(())
    }
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

/// Written past the capture of test output, since a silent test that takes minutes looks stuck.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "testbed: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_by_number() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert!(parse_go_version("go1.9.7") < parse_go_version("go1.26"));
        assert_eq!(parse_go_version("devel"), None);
    }
}
