# shellcheck shell=sh
# What a node does and some machines refuse even to root.
ip link add testbed0 type veth peer name testbed1
nft add table ip testbed
mount_layer /var/lib "$TMPDIR"
