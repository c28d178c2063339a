/* Makes calls that change files fail, come short or be the last thing that a process does, and the
 * clock jump.
 *
 * An LD_PRELOAD library for Linux with glibc, x86-64 and aarch64. __init__.py has the variables and
 * what they mean. It stands between a program and libc, so it misses what libc does within itself
 * (fwrite, mkstemp, remove) and what reaches a file through mmap: CPython and SQLite write by
 * neither, except that SQLite maps the -shm file, which no crash needs to survive.
 *
 * The calls are carried out by system call rather than by what dlsym(RTLD_NEXT) finds: there is
 * nothing to resolve that could come back here, take a lock in a forked child or not be ready yet.
 * For the same reason none of them allocates or locks.
 */

/* Both would make macros or inline functions of the names that are defined below. */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !defined(__LP64__)
#error "offsets are passed to the kernel as one register: this is for 64-bit Linux"
#endif

enum fault { NONE, FAILS, SHORT, KILL, KILL_AFTER, KILL_TORN };

/* Written once, before `owner` is, and then only read. */
static struct {
    char root[PATH_MAX];
    size_t root_length;
    unsigned long at; /* 0 for no fault */
    bool lasts;
    const char *of; /* "name path" of the calls that count for `at`, NULL for all */
    unsigned long jump_at; /* 0 for a clock that nobody looks at */
    long jump_by;
    enum fault fault;
    int error;
    int log; /* -1 for no log */
} settings;

/* The process whose calls count, 0 before there is one. A child shares our memory after vfork and
 * has a copy of it after fork, so that only its number tells it apart. */
static _Atomic pid_t owner;

static atomic_ulong counter, alike, readings;

/* Which file is it? */

static bool path_of(int fd, char path[PATH_MAX])
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length <= 0 || length == PATH_MAX)
        return false;
    path[length] = '\0';
    return true;
}

static bool path_of_folder(int at, const char *name, int flags, char path[PATH_MAX])
{
    int fd = syscall(SYS_openat, at, name, flags | O_PATH | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool found = path_of(fd, path);
    syscall(SYS_close, fd);
    return found;
}

/* The absolute path, without links, of a name that need not exist yet. `follow` says whether the
 * call would follow a link that has this name. */
static bool path_of_name(int at, const char *name, bool follow, char path[PATH_MAX])
{
    if (follow && path_of_folder(at, name, 0, path))
        return true;
    size_t end = strlen(name);
    while (end > 0 && name[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && name[start - 1] != '/')
        start--;
    const char *last = name + start;
    size_t length = end - start;
    if (length == 0 || (length <= 2 && strspn(last, ".") >= length))
        return path_of_folder(at, name, 0, path);
    char folder[PATH_MAX] = ".";
    if (start >= PATH_MAX)
        return false;
    if (start > 0)
        *(char *)mempcpy(folder, name, start) = '\0';
    if (!path_of_folder(at, folder, O_DIRECTORY, path))
        return false;
    size_t used = strlen(path);
    if (used + 1 + length >= PATH_MAX)
        return false;
    path[used] = '/';
    *(char *)mempcpy(path + used + 1, last, length) = '\0';
    return true;
}

/* The part of an absolute path below the root, "." for the root itself, NULL for one outside. */
static const char *below_root(const char *path)
{
    size_t length = settings.root_length;
    if (strncmp(path, settings.root, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return ".";
    return path[length] == '/' ? path + length + 1 : NULL;
}

/* Count, tell and decide */

static void append_to_log(unsigned long number, const char *name, const char *path, bool hit)
{
    char line[4 * PATH_MAX + 64];
    char *end = line + sprintf(line, "%lu\t%s\t", number, name);
    for (const char *c = path; *c != '\0'; c++) /* a name may hold whatever would end it here */
        if ((unsigned char)*c < ' ' || *c == '\\')
            end += sprintf(end, "\\x%02x", (unsigned)*c);
        else
            *end++ = *c;
    end += sprintf(end, "\t%s\n", hit ? "hit" : "-");
    /* One call, so that a kill leaves a whole line or none, and threads do not mix theirs. */
    syscall(SYS_write, settings.log, line, (size_t)(end - line));
}

static _Noreturn void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) /* the first process of a container is spared by its own SIGKILL */
        syscall(SYS_exit_group, 128 + SIGKILL);
}

static bool is_of(const char *of, const char *name, const char *path)
{
    size_t length = strlen(name);
    return strncmp(of, name, length) == 0 && of[length] == ' ' && strcmp(of + length + 1, path) == 0;
}

/* Count a call that changes `path`, and say what is to become of it. `size` is the number of bytes
 * that it writes, if it does. KILL does not return, FAILS leaves errno. */
static enum fault count(const char *name, const char *path, size_t size)
{
    unsigned long number = atomic_fetch_add(&counter, 1) + 1, at = number;
    if (settings.of)
        at = is_of(settings.of, name, path) ? atomic_fetch_add(&alike, 1) + 1 : 0;
    bool hit = settings.at != 0 && (at == settings.at || (settings.lasts && at > settings.at));
    if (settings.at != 0 && settings.fault >= KILL && at > settings.at)
        for (;;) /* another thread is about to kill us: this call comes too late */
            pause();
    enum fault fault = hit ? settings.fault : NONE;
    if (size < 2 && fault == SHORT) /* to write nothing and say so is not legal */
        fault = NONE;
    if (size < 2 && fault == KILL_TORN)
        fault = KILL;
    if (settings.log >= 0)
        append_to_log(number, name, path, fault != NONE);
    if (fault == KILL)
        die();
    if (fault == FAILS)
        errno = settings.error;
    return fault;
}

static enum fault at_file(const char *name, int fd, size_t size)
{
    if (getpid() != atomic_load(&owner))
        return NONE;
    int before = errno;
    char path[PATH_MAX];
    struct stat status;
    enum fault fault = NONE;
    if (fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
        && path_of(fd, path)) {
        static const char mark[] = " (deleted)"; /* what /proc adds when the name is gone */
        size_t length = strlen(path), extra = sizeof mark - 1;
        if (length > extra && strcmp(path + length - extra, mark) == 0 && lstat(path, &status) != 0)
            path[length - extra] = '\0';
        const char *below = below_root(path);
        if (below)
            fault = count(name, below, size);
    }
    if (fault != FAILS)
        errno = before;
    return fault;
}

static enum fault at_name(const char *name, int at, const char *file, bool follow)
{
    if (getpid() != atomic_load(&owner))
        return NONE;
    int before = errno;
    char path[PATH_MAX];
    const char *below = path_of_name(at, file, follow, path) ? below_root(path) : NULL;
    enum fault fault = below ? count(name, below, 0) : NONE;
    if (fault != FAILS)
        errno = before;
    return fault;
}

/* A call with two names counts once: under the new one, or the old one if only that is below. */
static enum fault at_names(const char *name, int old_at, const char *old, int new_at,
                           const char *new)
{
    if (getpid() != atomic_load(&owner))
        return NONE;
    char path[PATH_MAX];
    int before = errno;
    bool new_is_below = path_of_name(new_at, new, false, path) && below_root(path);
    errno = before;
    return new_is_below ? at_name(name, new_at, new, false) : at_name(name, old_at, old, false);
}

static size_t part(enum fault fault, size_t size)
{
    return fault == SHORT || fault == KILL_TORN ? size / 2 : size;
}

static long done(enum fault fault, long result)
{
    if (fault == KILL_AFTER || fault == KILL_TORN)
        die();
    return result;
}

/* The calls. Each is told under one name, whichever variant of it a program was built with. */

/* Offsets have 64 bits under either name. */
#define ALSO(other, function) extern __typeof(function) other __attribute__((alias(#function)))

ssize_t write(int fd, const void *data, size_t size)
{
    enum fault fault = at_file("write", fd, size);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_write, fd, data, part(fault, size)));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    enum fault fault = at_file("pwrite", fd, size);
    if (fault == FAILS)
        return -1;
    return done(fault, syscall(SYS_pwrite64, fd, data, part(fault, size), offset));
}
ALSO(pwrite64, pwrite);

/* `call` is the number of the system call; one that knows no offset or flags ignores them. */
static ssize_t write_parts(const char *name, long call, int fd, const struct iovec *parts, int n,
                           off_t offset, int flags)
{
    size_t size = 0;
    bool legal = n >= 0 && n <= IOV_MAX; /* or else the kernel refuses it */
    for (int i = 0; legal && i < n; i++)
        size += parts[i].iov_len;
    enum fault fault = at_file(name, fd, size);
    if (fault == FAILS)
        return -1;
    struct iovec first[IOV_MAX];
    size_t left = part(fault, size);
    if (left < size) {
        int used = 0;
        for (; left > 0; used++) {
            first[used] = parts[used];
            if (first[used].iov_len > left)
                first[used].iov_len = left;
            left -= first[used].iov_len;
        }
        parts = first;
        n = used;
    }
    return done(fault, syscall(call, fd, parts, (long)n, offset, 0L, (long)flags));
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return write_parts("writev", SYS_writev, fd, parts, n, 0, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    return write_parts("pwritev", SYS_pwritev, fd, parts, n, offset, 0);
}
ALSO(pwritev64, pwritev);

ssize_t pwritev2(int fd, const struct iovec *parts, int n, off_t offset, int flags)
{
    /* Without flags, do with what older kernels and sandboxes have, as libc does. */
    long call = flags ? SYS_pwritev2 : offset == -1 ? SYS_writev : SYS_pwritev;
    return write_parts("pwritev", call, fd, parts, n, offset, flags);
}
ALSO(pwritev64v2, pwritev2);

ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size,
                        unsigned flags)
{
    enum fault fault = at_file("copy_file_range", out, size);
    if (fault == FAILS)
        return -1;
    return done(fault, syscall(SYS_copy_file_range, in, in_offset, out, out_offset,
                               part(fault, size), flags));
}

ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    enum fault fault = at_file("sendfile", out, size);
    if (fault == FAILS)
        return -1;
    return done(fault, syscall(SYS_sendfile, out, in, offset, part(fault, size)));
}
ALSO(sendfile64, sendfile);

int fsync(int fd)
{
    enum fault fault = at_file("fsync", fd, 0);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_fsync, fd));
}

int fdatasync(int fd)
{
    enum fault fault = at_file("fdatasync", fd, 0);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_fdatasync, fd));
}

int ftruncate(int fd, off_t size)
{
    enum fault fault = at_file("ftruncate", fd, 0);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_ftruncate, fd, size));
}
ALSO(ftruncate64, ftruncate);

int truncate(const char *file, off_t size)
{
    enum fault fault = at_name("truncate", AT_FDCWD, file, true);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_truncate, file, size));
}
ALSO(truncate64, truncate);

static bool creates(int flags)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE; /* which has O_DIRECTORY's bit */
}

static int open_file(int at, const char *file, int flags, mode_t mode)
{
    bool follow = !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    enum fault fault = NONE;
    if (creates(flags) || flags & O_TRUNC)
        fault = at_name("open", at, file, follow);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_openat, at, file, flags, mode));
}

int open(const char *file, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = creates(flags) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_file(AT_FDCWD, file, flags, mode);
}
ALSO(open64, open);

int openat(int at, const char *file, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = creates(flags) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_file(at, file, flags, mode);
}
ALSO(openat64, openat);

int creat(const char *file, mode_t mode)
{
    return open_file(AT_FDCWD, file, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
ALSO(creat64, creat);

/* What _FORTIFY_SOURCE makes of an open without a mode; no header declares them. */
int __open_2(const char *file, int flags);
int __openat_2(int at, const char *file, int flags);

int __open_2(const char *file, int flags)
{
    return open_file(AT_FDCWD, file, flags, 0);
}
ALSO(__open64_2, __open_2);

int __openat_2(int at, const char *file, int flags)
{
    return open_file(at, file, flags, 0);
}
ALSO(__openat64_2, __openat_2);

int renameat2(int old_at, const char *old, int new_at, const char *new, unsigned flags)
{
    enum fault fault = at_names("rename", old_at, old, new_at, new);
    if (fault == FAILS)
        return -1;
    /* Here again the newer call is for those who need it. */
    return done(fault, flags ? syscall(SYS_renameat2, old_at, old, new_at, new, flags)
                             : syscall(SYS_renameat, old_at, old, new_at, new));
}

int renameat(int old_at, const char *old, int new_at, const char *new)
{
    return renameat2(old_at, old, new_at, new, 0);
}

int rename(const char *old, const char *new)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int linkat(int old_at, const char *old, int new_at, const char *new, int flags)
{
    enum fault fault = at_names("link", old_at, old, new_at, new);
    if (fault == FAILS)
        return -1;
    return done(fault, syscall(SYS_linkat, old_at, old, new_at, new, flags));
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int symlinkat(const char *target, int at, const char *file)
{
    enum fault fault = at_name("symlink", at, file, false);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_symlinkat, target, at, file));
}

int symlink(const char *target, const char *file)
{
    return symlinkat(target, AT_FDCWD, file);
}

int unlinkat(int at, const char *file, int flags)
{
    enum fault fault = at_name(flags & AT_REMOVEDIR ? "rmdir" : "unlink", at, file, false);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_unlinkat, at, file, flags));
}

int unlink(const char *file)
{
    return unlinkat(AT_FDCWD, file, 0);
}

int rmdir(const char *file)
{
    return unlinkat(AT_FDCWD, file, AT_REMOVEDIR);
}

int mkdirat(int at, const char *file, mode_t mode)
{
    enum fault fault = at_name("mkdir", at, file, false);
    return fault == FAILS ? -1 : done(fault, syscall(SYS_mkdirat, at, file, mode));
}

int mkdir(const char *file, mode_t mode)
{
    return mkdirat(AT_FDCWD, file, mode);
}

/* The clock */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (failed || clock != CLOCK_REALTIME || !settings.jump_at || getpid() != atomic_load(&owner))
        return failed;
    unsigned long number = atomic_fetch_add(&readings, 1) + 1;
    bool hit = number >= settings.jump_at;
    if (hit)
        now->tv_sec += settings.jump_by;
    int before = errno;
    if (settings.log >= 0)
        append_to_log(number, "clock", ".", hit);
    errno = before;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone; /* which nobody sets */
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    if (!failed)
        *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return failed;
}

time_t time(time_t *now)
{
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact))
        return -1;
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}

/* Settings */

/* A test must not pass because its fault was never understood. */
static _Noreturn void refuse(const char *name, const char *value)
{
    dprintf(STDERR_FILENO, "faults/shim.c: %s is %s\n", name, value ? value : "missing");
    _exit(97);
}

static unsigned long counted(const char *name, const char *value)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    if (number == 0 || *end != '\0' || *value == '-')
        refuse(name, value);
    return number;
}

static void read_fault(void)
{
    static const struct {
        const char *name;
        enum fault fault;
        int error;
    } known[] = {
        {"enospc", FAILS, ENOSPC},      {"eio", FAILS, EIO},
        {"short", SHORT, 0},            {"kill", KILL, 0},
        {"kill-after", KILL_AFTER, 0},  {"kill-torn", KILL_TORN, 0},
    };
    const char *at = getenv("FAULT_AT"), *wanted = getenv("FAULT_DO"), *lasts = getenv("FAULT_LASTS");
    if (!at)
        return;
    settings.at = counted("FAULT_AT", at);
    settings.lasts = lasts && strcmp(lasts, "1") == 0;
    settings.of = getenv("FAULT_OF");
    for (size_t i = 0; wanted && i < sizeof known / sizeof *known; i++)
        if (strcmp(wanted, known[i].name) == 0) {
            settings.fault = known[i].fault;
            settings.error = known[i].error;
        }
    if (settings.fault == NONE)
        refuse("FAULT_DO", wanted);
}

static void read_jump(void)
{
    const char *at = getenv("FAULT_CLOCK_AT"), *by = getenv("FAULT_CLOCK_BY");
    if (!at)
        return;
    settings.jump_at = counted("FAULT_CLOCK_AT", at);
    char *end;
    settings.jump_by = by ? strtol(by, &end, 10) : 0;
    if (!by || end == by || *end != '\0')
        refuse("FAULT_CLOCK_BY", by);
}

static void open_log(void)
{
    const char *log = getenv("FAULT_LOG");
    settings.log = -1;
    if (!log)
        return;
    int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        refuse("FAULT_LOG", log);
    /* Far from the numbers that a program gets, or closes: none of its files can take this one's
     * place and be appended to. */
    settings.log = fcntl(fd, F_DUPFD_CLOEXEC, 800);
    if (settings.log < 0)
        refuse("FAULT_LOG", "not possible with so few open files");
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void start(void)
{
    const char *root = getenv("FAULT_ROOT"), *first = getenv("FAULT_PID");
    /* Whoever this process starts inherits the variables and is left alone. A process that replaces
     * itself, as `exec` does in a shell, keeps its number and counts from the start. */
    char number[16];
    snprintf(number, sizeof number, "%d", (int)getpid());
    if (!root || (first && strcmp(first, number) != 0))
        return;
    setenv("FAULT_PID", number, 1);
    if (!path_of_folder(AT_FDCWD, root, O_DIRECTORY, settings.root))
        refuse("FAULT_ROOT", root);
    settings.root_length = strcmp(settings.root, "/") == 0 ? 0 : strlen(settings.root);
    read_fault();
    read_jump();
    open_log();
    atomic_store(&owner, getpid());
}
