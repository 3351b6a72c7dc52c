//! Makes the operator's image, or only its files for a build that has an engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use packaging::{contents, operator_image, operator_root, program_image};

#[derive(Parser)]
#[command(about = "Makes the operator's image without a container engine")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write an OCI archive, which ctr, docker load and skopeo take
    Image {
        /// The operator's program, linked statically
        #[arg(long)]
        program: PathBuf,
        /// The image's name, with its tag
        #[arg(long)]
        name: String,
        /// Version of the operator
        #[arg(long)]
        version: String,
        /// Revision of the source it was built from
        #[arg(long)]
        revision: String,
        /// Time of the image and of all its files, in seconds since 1970: that of the revision
        #[arg(long)]
        time: u64,
        /// Where to write the archive
        #[arg(long)]
        output: PathBuf,
    },
    /// Write an OCI archive with one program and nothing else
    Program {
        /// The program, linked statically
        #[arg(long)]
        program: PathBuf,
        /// The image's name, with its tag
        #[arg(long)]
        name: String,
        /// Where to write the archive
        #[arg(long)]
        output: PathBuf,
    },
    /// Print what is in the operator's program, as CycloneDX JSON
    Contents {
        /// The platform it was built for
        #[arg(long)]
        target: String,
        /// Time to write into the list, in seconds since 1970
        #[arg(long)]
        time: u64,
    },
    /// Write the files of the image into a folder
    Root {
        /// The operator's program, linked statically
        #[arg(long)]
        program: PathBuf,
        /// The folder, which is made
        folder: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Task::Root { program, folder } => operator_root(read(&program)?, licence()?).write_to(&folder),
        Task::Program { program, name, output } => {
            let image = program_image(&program, &name)?.archive()?;
            fs::write(&output, &image.file).with_context(|| format!("write {}", output.display()))?;
            println!("image     {name}");
            println!("archive   {}, {:.1} MB", output.display(), megabytes(image.file.len()));
            Ok(())
        }
        Task::Contents { target, time } => {
            println!("{:#}", contents("error-budget-gatekeeper", &target, time)?);
            Ok(())
        }
        Task::Image { program, name, version, revision, time, output } => {
            let start = start_up(&program)?;
            let root = operator_root(read(&program)?, licence()?);
            let image = operator_image(root, &name, &version, &revision, time).archive()?;
            fs::write(&output, &image.file).with_context(|| format!("write {}", output.display()))?;
            println!("image     {name}, revision {revision}");
            println!("archive   {}, {:.1} MB", output.display(), megabytes(image.file.len()));
            println!("digest    {}", image.digest);
            println!(
                "program   {:.1} MB, {:.1} MB packed",
                megabytes(read(&program)?.len()),
                megabytes(image.layer_size)
            );
            println!("start-up  {:.1} ms until the program answers --version", start.as_secs_f64() * 1000.0);
            Ok(())
        }
    }
}

/// The median of a few starts. That the program answers at all shows that it was built for this machine.
fn start_up(program: &Path) -> Result<Duration> {
    const STARTS: usize = 11;
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let started = Instant::now();
        let status = Command::new(program).arg("--version").env_clear().stdout(Stdio::null()).status();
        let status = status.with_context(|| format!("run {}", program.display()))?;
        ensure!(status.success(), "{} --version ended with {status}", program.display());
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[STARTS / 2])
}

fn licence() -> Result<Vec<u8>> {
    read(Path::new("LICENSE")).context("run it in the project's folder")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
