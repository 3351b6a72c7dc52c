//! Holding and rolling back on a real control plane, with the rights of the chart's own account and the tools that
//! people release with.

mod appliers;
mod asks;
mod canary;
mod crash;
mod holding;
mod moves;
mod rejected;
mod settings;
mod shop;
mod watching;
