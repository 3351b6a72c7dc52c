//! What must hold of decisions whatever the policy and whatever is seen.

mod decide_tests {
    mod error_rates;
    mod properties;
    mod purity;
}
