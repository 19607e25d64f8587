/* Takes all chance away from a process: what it asks the system for is always the same.
 *
 * Hash maps, and the order in which a runtime looks at what is ready, begin with random bytes. The wall clock is
 * another one at each look, by years: nothing may depend on it. All other clocks stand still. Time passes in the runtimes
 * alone: what passed on a real clock while one was made would decide to which millisecond its timers are rounded. */

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    (void)flags;
    for (size_t i = 0; i < length; i++) ((unsigned char *)buffer)[i] = 7;
    return (ssize_t)length;
}

int getentropy(void *buffer, size_t length) {
    return getrandom(buffer, length, 0) < 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock != CLOCK_REALTIME) {
        time->tv_sec = 1000000;
        time->tv_nsec = 0;
        return 0;
    }
    time->tv_sec = 1000000000 + (time_t)(next() % 1000000000);
    time->tv_nsec = (long)(next() % 1000000000);
    return 0;
}
