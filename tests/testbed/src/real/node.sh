# shellcheck shell=sh
# The first process of a node's namespaces: prepares them and stays, so that killing it is as losing the machine. It also
# collects processes that lost their parents.
set -eu
folder=$1 hierarchies=$2 address=$3 server=$4

# Now another process can find the namespaces by this one and lay the link.
touch "$folder/namespaces"

mount_system "$hierarchies"
mount -t tmpfs -o mode=755 tmpfs /run
for directory in /var/lib /var/log /opt; do
    mount_layer "$directory" "$folder"
done

# A kubelet sets these for the whole machine. It finds what it wants in files over them, and writes nothing.
shadow() {
    mkdir -p "$folder/sysctls/$(dirname "$1")"
    echo "$2" > "$folder/sysctls/$1"
    mount --bind "$folder/sysctls/$1" "/proc/sys/$1"
}
shadow vm/overcommit_memory 1
shadow vm/panic_on_oom 0
shadow kernel/panic 10
shadow kernel/panic_on_oops 1
shadow kernel/keys/root_maxkeys 1000000
shadow kernel/keys/root_maxbytes 25000000

ip link set lo up
until ip link set eth0 up 2> /dev/null; do
    sleep 0.02
done
ip address add "$address/32" dev eth0
ip route add "$server" dev eth0
ip route add default via "$server"
echo 1 > /proc/sys/net/ipv4/ip_forward

touch "$folder/up"
while :; do
    sleep 3600 &
    wait $! || true
done
