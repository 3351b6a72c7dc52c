/* Gives hash maps the same keys in every process that it is preloaded into, so that a build script which writes out a map's
 * entries writes them in the same order each time. Rust's standard library asks for those keys, and for nothing else, with
 * GRND_INSECURE; whoever needs secrets asks without it, and gets random bytes as ever. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    if (flags & GRND_INSECURE) {
        memset(buffer, 0, length);
        return (ssize_t)length;
    }
    return syscall(SYS_getrandom, buffer, length, flags);
}
