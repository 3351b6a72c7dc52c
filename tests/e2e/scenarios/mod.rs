//! The stories, in the order in which they are told.

mod autoscaling;
mod bad_releases;
mod canary_share;
mod document;
mod fix_and_retry;
mod good_releases;
mod helm;
mod killed;

use crate::{Company, Scenario};

/// A function whose name is the sentence that it shows.
macro_rules! scenario {
    ($company:ident, $module:ident :: $name:ident) => {
        Scenario { name: stringify!($name), company: Company::$company, run: |ground| Box::pin($module::$name(ground)) }
    };
}

/// All of them. The first installs what the others need, the last takes it away.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario!(None, document::the_documented_commands_install_two_ready_pods_under_restricted_pod_security),
        scenario!(Any, bad_releases::a_release_that_fails_every_request_is_rolled_back),
        scenario!(Any, bad_releases::a_release_that_fails_five_percent_is_rolled_back),
        scenario!(Any, bad_releases::a_release_that_fails_one_percent_is_rolled_back),
        scenario!(Any, bad_releases::a_release_that_takes_two_seconds_is_rolled_back),
        scenario!(Any, bad_releases::a_release_that_crashes_again_and_again_is_rolled_back),
        scenario!(Any, bad_releases::a_release_that_runs_out_of_memory_is_rolled_back),
        scenario!(Any, bad_releases::a_release_that_is_never_ready_is_rolled_back),
        scenario!(Any, good_releases::what_a_roll_costs_without_a_pre_stop_hook_is_not_blamed_on_the_release),
        scenario!(Any, good_releases::a_good_release_with_a_pre_stop_hook_is_promoted),
        scenario!(Any, good_releases::what_users_count_of_a_roll_may_hold_a_good_release_and_never_rolls_it_back),
        scenario!(Any, canary_share::a_canary_of_a_tenth_of_the_pods_gets_a_tenth_of_the_requests),
        scenario!(Any, autoscaling::a_good_release_is_promoted_although_an_autoscaler_doubles_its_pods_in_mid_canary),
        scenario!(Any, autoscaling::a_bad_release_is_rolled_back_after_an_autoscaler_doubled_its_pods_in_mid_canary),
        scenario!(Any, fix_and_retry::a_bad_release_is_rejected_when_it_comes_again_and_its_fix_is_promoted),
        scenario!(Any, document::the_documented_commands_roll_a_bad_release_back_and_promote_its_fix),
        scenario!(None, killed::a_bad_release_is_rolled_back_although_the_leading_operator_is_killed),
        scenario!(None, killed::a_bad_release_is_rolled_back_although_prometheus_lost_its_pod_and_its_data),
        scenario!(None, killed::a_good_release_is_promoted_although_a_node_is_drained),
        scenario!(None, helm::an_upgrade_of_the_operator_in_mid_rollout_changes_nothing_of_it),
        scenario!(None, helm::an_uninstallation_in_mid_rollout_gives_the_deployment_back_to_its_owner),
    ]
}
