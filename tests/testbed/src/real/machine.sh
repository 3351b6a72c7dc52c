# shellcheck shell=sh
# The first process of the machine's namespaces: prepares them, runs the program, ends with it. It also collects
# processes that lost their parents.
set -eu
folder=$1 hierarchies=$2 address=$3 services=$4
shift 4

mount_system "$hierarchies"
ip link set lo up
ip address add "$address/32" dev lo
# The kernel wants a route before it asks kube-proxy's rules where a Service really is.
ip route add "$services" dev lo src "$address"
echo 1 > /proc/sys/net/ipv4/ip_forward
mount --bind "$folder/resolv.conf" /etc/resolv.conf

status=0
"$@" < /dev/null || status=$?
exit "$status"
