# shellcheck shell=sh
# Lays the link to a node: its name here, the id of a process in the node's network namespace, the node's address, the
# addresses of its pods.
set -eu
name=$1 process=$2 address=$3 pods=$4
# That of a node that was lost a moment ago may still be there.
ip link delete "$name" 2> /dev/null || true
ip link add "$name" type veth peer name eth0 netns "$process"
ip link set "$name" up
ip route add "$address" dev "$name"
ip route add "$pods" via "$address" dev "$name"
