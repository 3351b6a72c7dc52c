# shellcheck shell=sh
# Mounts /sys for the network namespace, and of the cgroups what lies below the cgroup namespace's own: the kubelet must
# not see others. $1: the controllers of each hierarchy, such as "cpu,cpuacct memory".
mount_system() {
    # Mounts of pods are to be seen by whoever shares this namespace.
    mount --make-rshared /
    umount --recursive /sys
    mount -t sysfs sysfs /sys
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    for hierarchy in $1; do
        mkdir "/sys/fs/cgroup/$hierarchy"
        mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy"
        for controller in $(echo "$hierarchy" | tr , ' '); do
            [ -e "/sys/fs/cgroup/$controller" ] || ln -s "$hierarchy" "/sys/fs/cgroup/$controller"
        done
    done
}

# Gives the directory $1 a private layer: what is written to it goes to $2. What is in it can be read.
mount_layer() {
    mkdir -p "$2/written$1" "$2/work$1"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/written$1,workdir=$2/work$1" "$1"
}
