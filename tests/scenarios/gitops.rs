//! Tools that apply what is in Git again and again, whatever the operator does: nobody fights.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// How often the tool applies, and how many times: two minutes.
const EVERY: Duration = Duration::from_secs(5);
const TIMES: usize = 24;

/// How a tool brings Git into the cluster.
#[derive(Clone, Copy)]
enum Tool {
    /// `kubectl apply` in a loop, as Argo CD's self-heal does.
    ClientSide,
    /// `kubectl apply --server-side --force-conflicts`, as Flux does.
    ServerSide,
    /// `helm upgrade`.
    Helm,
}

/// What the repository says of the fields that a hold sets otherwise: `paused`, `strategy`, `minReadySeconds` and
/// `progressDeadlineSeconds`.
#[derive(Clone, Copy)]
enum Says {
    All,
    Nothing,
}

/// A repository, and the tool that follows it.
struct Git<'a> {
    world: &'a World,
    tool: Tool,
    says: Says,
    chart: PathBuf,
}

impl<'a> Git<'a> {
    fn with(world: &'a World, tool: Tool, says: Says) -> Result<Self> {
        let chart = std::env::temp_dir().join(format!("gitops-{}-{}", world.namespace, std::process::id()));
        std::fs::create_dir_all(chart.join("templates"))?;
        std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: checkout\nversion: 0.1.0\n")?;
        Ok(Self { world, tool, says, chart })
    }

    fn manifest(&self, release: &Release) -> Value {
        let mut manifest = self.world.manifest("checkout", release);
        let spec = &mut manifest["spec"];
        match self.says {
            Says::All => {
                spec["paused"] = json!(false);
                spec["minReadySeconds"] = json!(1);
                spec["progressDeadlineSeconds"] = json!(300);
            }
            Says::Nothing => drop(spec.as_object_mut().expect("it is an object").remove("strategy")),
        }
        manifest
    }

    async fn sync(&self, release: &Release) -> Result<()> {
        let manifest = self.manifest(release);
        match self.tool {
            Tool::ClientSide => self.world.apply(&manifest).await,
            Tool::ServerSide => self.world.apply_server_side(&manifest).await,
            Tool::Helm => {
                std::fs::write(self.chart.join("templates/deployment.yaml"), manifest.to_string())?;
                let (chart, namespace) = (self.chart.display().to_string(), self.world.namespace.clone());
                let upgrade = ["upgrade", "--install", "checkout", &chart, "--namespace", &namespace];
                self.world.cluster().helm(&upgrade).await.map(|_| ())
            }
        }
    }
}

impl Drop for Git<'_> {
    fn drop(&mut self) {
        // It lies in the system's folder for such things, which is emptied anyhow.
        let _ = std::fs::remove_dir_all(&self.chart);
    }
}

async fn governed(name: &str, tool: Tool, says: Says) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").replicas(4).traffic(10_000.0);
    let canary = json!({"traffic": "10%", "hold": "30s"});
    let policy = Policy::of("checkout").with("/canary", canary).monitoring("6s");
    world.register(service);
    Git::with(&world, tool, says)?.sync(&Release::new("v1").burning(0.3)).await?;
    world.complete("checkout").await?;
    world.govern(policy).await?;
    world.reaches("checkout", "Succeeded").await?;
    Ok(world)
}

/// The bad release that Git still says is held without pods, and in two minutes of being applied neither side writes.
async fn a_bad_release_in_git_starts_no_war(name: &str, tool: Tool, says: Says) -> Result<()> {
    let world = governed(name, tool, says).await?;
    let settings_in_git = world.settings("checkout").await?;
    let git = Git::with(&world, tool, says)?;
    let bad = Release::new("v2").burning(100.0);
    git.sync(&bad).await?;
    world.reaches("checkout", "RolledBack").await?;

    git.sync(&bad).await?;
    world.reaches("checkout", "Rejected").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    let before = world.deployment("checkout").await?.generation;
    for _ in 0..TIMES {
        git.sync(&bad).await?;
        tokio::time::sleep(EVERY).await;
    }
    let writes_of_both_sides = world.deployment("checkout").await?.generation - before;
    assert_eq!(writes_of_both_sides, 0, "{}", world.history);
    assert_eq!(world.pods("checkout").await?, "v1: 4/4, v2: 0/0");
    assert_eq!(world.event("checkout", "RevisionRejected").await?.len(), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v2"]);

    let fix = Release::new("v3").burning(0.2);
    git.sync(&fix).await?;
    world
        .eventually("the fix has succeeded", PATIENCE * 2, async || {
            git.sync(&fix).await?;
            let rollout = world.rollout("checkout").await?;
            Ok(rollout.phase == "Succeeded"
                && rollout.newest == rollout.stable
                && world.pods("checkout").await?.ends_with("v3: 4/4"))
        })
        .await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 4/4").await?;
    assert_eq!(world.settings("checkout").await?, settings_in_git);
    Ok(())
}

/// While the canary is held, Git is applied again and again: nothing of the hold changes, and at its end all is as Git
/// says.
async fn a_canary_is_held_against_git(name: &str, tool: Tool) -> Result<()> {
    let world = governed(name, tool, Says::All).await?;
    let settings_in_git = world.settings("checkout").await?;
    let git = Git::with(&world, tool, Says::All)?;
    let release = Release::new("v2").burning(0.3);
    git.sync(&release).await?;
    world.pods_are("checkout", "v1: 4/4, v2: 1/1").await?;
    world
        .eventually("it has succeeded", PATIENCE * 2, async || {
            git.sync(&release).await?;
            let rollout = world.rollout("checkout").await?;
            Ok(rollout.phase == "Succeeded" && rollout.newest.and_then(|newest| newest.revision) == Some(2))
        })
        .await?;
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (1, 4), "{}", world.history);
    // By Git: v1, v2, and once, noted as a wish for later, what it wants in place of the hold. By us: armed, latched, let go.
    assert_eq!(world.deployment("checkout").await?.generation, 6, "{}", world.history);
    assert_eq!(world.settings("checkout").await?, settings_in_git);
    Ok(())
}

#[tokio::test]
async fn with_client_side_apply_a_bad_release_in_git_starts_no_war() -> Result<()> {
    a_bad_release_in_git_starts_no_war("gitops-war-client", Tool::ClientSide, Says::All).await
}

#[tokio::test]
async fn with_server_side_apply_a_bad_release_in_git_starts_no_war() -> Result<()> {
    a_bad_release_in_git_starts_no_war("gitops-war-server", Tool::ServerSide, Says::All).await
}

#[tokio::test]
async fn with_helm_a_bad_release_in_git_starts_no_war() -> Result<()> {
    a_bad_release_in_git_starts_no_war("gitops-war-helm", Tool::Helm, Says::All).await
}

#[tokio::test]
async fn with_client_side_apply_a_canary_is_held_against_git() -> Result<()> {
    a_canary_is_held_against_git("gitops-canary-client", Tool::ClientSide).await
}

#[tokio::test]
async fn with_server_side_apply_a_canary_is_held_against_git() -> Result<()> {
    a_canary_is_held_against_git("gitops-canary-server", Tool::ServerSide).await
}

#[tokio::test]
async fn with_helm_a_canary_is_held_against_git() -> Result<()> {
    a_canary_is_held_against_git("gitops-canary-helm", Tool::Helm).await
}

#[tokio::test]
async fn with_client_side_apply_a_bad_release_in_a_git_that_says_nothing_of_the_hold_starts_no_war() -> Result<()> {
    a_bad_release_in_git_starts_no_war("gitops-war-bare-client", Tool::ClientSide, Says::Nothing).await
}

#[tokio::test]
async fn with_server_side_apply_a_bad_release_in_a_git_that_says_nothing_of_the_hold_starts_no_war() -> Result<()> {
    a_bad_release_in_git_starts_no_war("gitops-war-bare-server", Tool::ServerSide, Says::Nothing).await
}

#[tokio::test]
async fn with_helm_a_bad_release_in_a_git_that_says_nothing_of_the_hold_starts_no_war() -> Result<()> {
    a_bad_release_in_git_starts_no_war("gitops-war-bare-helm", Tool::Helm, Says::Nothing).await
}
