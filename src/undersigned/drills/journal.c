/* A library to be preloaded into a program: what it does to one folder, written down.

   Every call that changes a file or folder below DRILL_ROOT, every barrier there, and
   every byte that leaves through a socket is appended to the journal DRILL_JOURNAL, in
   one order for all threads and processes: the call itself and its record are made
   under one lock. undersigned/drills/journal.py reads it; the layout of a record stands
   there and in `struct record`. What cannot be followed (a shared writable mapping, a
   file made by splice, …) is written down as REFUSED, and the drill fails.

   A call can also be made to fail, or to be the process's last: see `struct fuse`,
   which is mapped from DRILL_FUSE and written by undersigned/drills/fuse.py.

   Compiled by the drill with the machine's `cc`; no part of the running product. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind {
    HELLO = 1, MKDIR, CREATE, WRITE, TRUNCATE, EXTEND, RENAME, LINK, UNLINK, RMDIR,
    SYNC, SYNC_FAILED, SENT, REFUSED, MARK, BURNT
};

struct record {
    uint32_t magic;      /* "UDJ1" */
    uint32_t bytes;      /* of the whole record: header, two paths, data */
    uint16_t kind;
    uint16_t flags;      /* 1: durable at once (O_SYNC, O_DSYNC) */
    uint16_t path_bytes; /* paths are relative to the root, "" is the root itself */
    uint16_t second_bytes;
    uint64_t inode;
    uint64_t offset; /* of a write; the new length of a truncation */
    uint64_t length;
    uint64_t at; /* nanoseconds since 1970 */
    uint32_t process;
    uint32_t spare;
};

/* What is to go wrong. `calls` counts what matched; at `count` the fuse burns. */
struct fuse {
    uint32_t armed;
    uint32_t kinds; /* bits by kind */
    uint32_t count; /* the how-manieth matching call, from 1 */
    int32_t error;  /* errno, or 0: kill */
    uint32_t after; /* kill after the call, not before it */
    uint32_t lasts; /* what failed once goes on failing */
    uint32_t calls;
    uint32_t burnt;
    char part[224]; /* the path must contain it; "" for any */
};

#define MAGIC 0x314a4455u
#define SOCKET_BYTES 65536

static char root[PATH_MAX];
static size_t root_bytes;
static char journal_path[PATH_MAX];
static int journal = -1;
static struct fuse *fuse;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Calls made while this thread writes a record are its own. */
static __thread int inside;

#define REAL(result, name, ...) \
    static result (*real_##name)(__VA_ARGS__)
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(int, creat64, const char *, mode_t);
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
REAL(ssize_t, writev, int, const struct iovec *, int);
REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
REAL(ssize_t, pwritev64v2, int, const struct iovec *, int, off64_t, int);
REAL(int, ftruncate64, int, off64_t);
REAL(int, truncate64, const char *, off64_t);
REAL(int, fallocate64, int, int, off64_t, off64_t);
REAL(int, posix_fallocate64, int, off64_t, off64_t);
REAL(int, renameat, int, const char *, int, const char *);
REAL(int, renameat2, int, const char *, int, const char *, unsigned);
REAL(int, linkat, int, const char *, int, const char *, int);
REAL(int, symlinkat, const char *, int, const char *);
REAL(int, unlinkat, int, const char *, int);
REAL(int, mkdirat, int, const char *, mode_t);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(void *, mmap64, void *, size_t, int, int, int, off64_t);
REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
REAL(ssize_t, splice, int, off64_t *, int, off64_t *, size_t, unsigned);
REAL(ssize_t, send, int, const void *, size_t, int);
REAL(ssize_t, sendto, int, const void *, size_t, int, const struct sockaddr *,
     socklen_t);
REAL(ssize_t, sendmsg, int, const struct msghdr *, int);

static void fail_hard(const char *why)
{
    dprintf(2, "drill's disk library: %s\n", why);
    _exit(97);
}

static void open_journal(void)
{
    journal = real_open64(journal_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (journal < 0)
        fail_hard("the journal cannot be opened");
    /* Out of the way of programs that count on low numbers. */
    int high = fcntl(journal, F_DUPFD_CLOEXEC, 900);
    if (high >= 0) {
        close(journal);
        journal = high;
    }
}

static void reopen_in_child(void)
{
    /* A lock of a file belongs to its opening, which a fork shares: open anew. */
    pthread_mutex_init(&lock, NULL);
    inside = 0;
    if (journal >= 0) {
        close(journal);
        open_journal();
    }
}

static void append(enum kind kind, int flags, uint64_t inode, uint64_t offset,
                   uint64_t length, const char *path, const char *second,
                   const struct iovec *data, int parts, size_t data_bytes);

static void set_up(void)
{
#define FIND(name) \
    if (!(*(void **)&real_##name = dlsym(RTLD_NEXT, #name))) \
    fail_hard("the C library has no " #name)
    FIND(open64); FIND(openat64); FIND(creat64); FIND(write); FIND(pwrite64);
    FIND(writev); FIND(pwritev64); FIND(pwritev64v2); FIND(ftruncate64);
    FIND(truncate64); FIND(fallocate64); FIND(posix_fallocate64); FIND(renameat);
    FIND(renameat2); FIND(linkat); FIND(symlinkat); FIND(unlinkat); FIND(mkdirat);
    FIND(fsync); FIND(fdatasync); FIND(mmap64); FIND(sendfile64);
    FIND(copy_file_range); FIND(splice); FIND(send); FIND(sendto); FIND(sendmsg);
    const char *given = getenv("DRILL_ROOT"), *where = getenv("DRILL_JOURNAL");
    const char *fuse_path = getenv("DRILL_FUSE");
    if (!given || !where)
        return;
    if (!realpath(given, root))
        fail_hard("DRILL_ROOT is no folder");
    root_bytes = strlen(root);
    if (strlen(where) >= sizeof journal_path)
        fail_hard("DRILL_JOURNAL is too long");
    strcpy(journal_path, where);
    if (fuse_path) {
        int handle = real_open64(fuse_path, O_RDWR | O_CLOEXEC);
        if (handle < 0)
            fail_hard("DRILL_FUSE cannot be opened");
        fuse = real_mmap64(NULL, sizeof *fuse, PROT_READ | PROT_WRITE, MAP_SHARED,
                           handle, 0);
        if (fuse == MAP_FAILED)
            fail_hard("DRILL_FUSE cannot be mapped");
        close(handle);
    }
    open_journal();
    pthread_atfork(NULL, NULL, reopen_in_child);
    struct stat64 found;
    if (stat64(root, &found))
        fail_hard("DRILL_ROOT cannot be looked at");
    append(HELLO, 0, found.st_ino, 0, 0, "", "", NULL, 0, 0);
}

__attribute__((constructor)) static void begin(void) { pthread_once(&once, set_up); }

/* One order for all: this process's threads by the mutex, others by flock. */
static void enter(void)
{
    pthread_once(&once, set_up);
    pthread_mutex_lock(&lock);
    while (flock(journal, LOCK_EX) && errno == EINTR)
        ;
    inside = 1;
}

static void leave(void)
{
    int kept = errno;
    inside = 0;
    flock(journal, LOCK_UN);
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static int is_on(void)
{
    if (inside)
        return 0;
    pthread_once(&once, set_up);
    return journal >= 0;
}

static void append(enum kind kind, int flags, uint64_t inode, uint64_t offset,
                   uint64_t length, const char *path, const char *second,
                   const struct iovec *data, int parts, size_t data_bytes)
{
    int kept = errno;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t path_bytes = strlen(path), second_bytes = strlen(second);
    struct record head = {
        .magic = MAGIC, .kind = (uint16_t)kind, .flags = (uint16_t)flags,
        .path_bytes = (uint16_t)path_bytes, .second_bytes = (uint16_t)second_bytes,
        .inode = inode, .offset = offset, .length = length,
        .at = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .process = (uint32_t)getpid(),
        .bytes = (uint32_t)(sizeof head + path_bytes + second_bytes + data_bytes),
    };
    char *whole = malloc(head.bytes), *at = whole;
    if (!whole)
        fail_hard("no memory for a record");
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    memcpy(at, path, path_bytes);
    at += path_bytes;
    memcpy(at, second, second_bytes);
    at += second_bytes;
    for (int part = 0; part < parts && data_bytes; part++) {
        size_t some = data[part].iov_len < data_bytes ? data[part].iov_len : data_bytes;
        memcpy(at, data[part].iov_base, some);
        at += some;
        data_bytes -= some;
    }
    size_t left = head.bytes;
    at = whole;
    while (left) {
        ssize_t done = real_write(journal, at, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            fail_hard("the journal cannot be written");
        at += done;
        left -= (size_t)done;
    }
    free(whole);
    errno = kept;
}

static void refuse(const char *what, const char *path)
{
    append(REFUSED, 0, 0, 0, 0, path, what, NULL, 0, 0);
}

/* Return the path below the root, or NULL. `buffer` holds PATH_MAX. */
static const char *below(char *path)
{
    if (strncmp(path, root, root_bytes))
        return NULL;
    if (!path[root_bytes])
        return path + root_bytes;
    return path[root_bytes] == '/' ? path + root_bytes + 1 : NULL;
}

static const char *find_by_handle(int handle, char *buffer)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length <= 0)
        return NULL;
    buffer[length] = 0;
    return below(buffer);
}

/* The folder's own links are followed, the last name's are not. */
static const char *find_by_name(int folder, const char *name, char *buffer)
{
    char whole[PATH_MAX], last[NAME_MAX + 2];
    if (!name || !*name || strlen(name) >= PATH_MAX - 300)
        return NULL;
    if (name[0] == '/') {
        strcpy(whole, name);
    } else {
        if (folder == AT_FDCWD) {
            if (!getcwd(whole, PATH_MAX - 300))
                return NULL;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t length = readlink(link, whole, PATH_MAX - 300);
            if (length <= 0)
                return NULL;
            whole[length] = 0;
        }
        if (strlen(whole) + strlen(name) + 2 > PATH_MAX)
            return NULL;
        strcat(whole, "/");
        strcat(whole, name);
    }
    size_t end = strlen(whole);
    while (end > 1 && whole[end - 1] == '/')
        whole[--end] = 0;
    char *slash = strrchr(whole, '/');
    if (strlen(slash + 1) > NAME_MAX)
        return NULL;
    strcpy(last, slash + 1);
    *slash = 0;
    if (!realpath(*whole ? whole : "/", buffer))
        return NULL;
    if (strlen(buffer) + strlen(last) + 2 > PATH_MAX)
        return NULL;
    strcat(buffer, "/");
    strcat(buffer, last);
    return below(buffer);
}

/* A regular file or folder below the root behind this handle? Fills path and inode. */
static const char *look(int handle, char *buffer, struct stat64 *found)
{
    if (fstat64(handle, found))
        return NULL;
    if (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode))
        return NULL;
    return find_by_handle(handle, buffer);
}

static int is_socket(int handle)
{
    struct stat64 found;
    return !fstat64(handle, &found) && S_ISSOCK(found.st_mode);
}

static int is_synced(int handle)
{
    int flags = fcntl(handle, F_GETFL);
    return flags >= 0 && (flags & O_DSYNC) ? 1 : 0;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Called under the lock before a call: 0, or the errno it is to fail with. */
static int burn(enum kind kind, const char *path)
{
    if (!fuse || !fuse->armed || !(fuse->kinds >> kind & 1) ||
        (fuse->part[0] && !strstr(path, fuse->part)))
        return 0;
    fuse->calls++;
    if (fuse->calls < fuse->count || (fuse->calls > fuse->count && !fuse->lasts))
        return 0;
    if (!fuse->burnt)
        append(BURNT, 0, 0, fuse->calls, (uint64_t)kind, path, "", NULL, 0, 0);
    fuse->burnt = 1;
    if (!fuse->error && !fuse->after)
        die();
    return fuse->error;
}

/* Called under the lock after a call was made and recorded. */
static void burn_after(void)
{
    if (fuse && fuse->armed && fuse->burnt && !fuse->error && fuse->after)
        die();
}

/* --- opening */

static int do_open(int folder, const char *name, int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *path;
    if (!is_on() || !(flags & (O_CREAT | O_TRUNC)) ||
        !(path = find_by_name(folder, name, buffer))) {
        if (is_on() && (flags & O_TMPFILE) == O_TMPFILE) {
            enter();
            refuse("a file without a name", "");
            leave();
        }
        return real_openat64(folder, name, flags, mode);
    }
    enter();
    struct stat64 before, after;
    int existed = !fstatat64(folder, name, &before, AT_SYMLINK_NOFOLLOW);
    int error = 0;
    if (!existed && (flags & O_CREAT))
        error = burn(CREATE, path);
    else if (existed && (flags & O_TRUNC) && before.st_size)
        error = burn(TRUNCATE, path);
    int handle = -1;
    if (error)
        errno = error;
    else
        handle = real_openat64(folder, name, flags, mode);
    if (handle >= 0 && !fstat64(handle, &after) && S_ISREG(after.st_mode)) {
        if (!existed)
            append(CREATE, 0, after.st_ino, 0, 0, path, "", NULL, 0, 0);
        else if ((flags & O_TRUNC) && before.st_size)
            append(TRUNCATE, 0, after.st_ino, 0, 0, path, "", NULL, 0, 0);
        burn_after();
    }
    leave();
    return handle;
}

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open64(const char *name, int flags, ...)
{
    MODE_OF(flags)
    return do_open(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}

int open(const char *name, int flags, ...)
{
    MODE_OF(flags)
    return do_open(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}

int openat64(int folder, const char *name, int flags, ...)
{
    MODE_OF(flags)
    return do_open(folder, name, flags | O_LARGEFILE, mode);
}

int openat(int folder, const char *name, int flags, ...)
{
    MODE_OF(flags)
    return do_open(folder, name, flags | O_LARGEFILE, mode);
}

int creat64(const char *name, mode_t mode)
{
    return do_open(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat(const char *name, mode_t mode) { return creat64(name, mode); }

/* --- writing */

/* What leaves through a socket is recorded before it leaves: the order is strict. */
static void note_sent(int handle, const struct iovec *data, int parts)
{
    if (!is_on() || !is_socket(handle))
        return;
    size_t bytes = 0;
    for (int part = 0; part < parts; part++)
        bytes += data[part].iov_len;
    if (bytes > SOCKET_BYTES)
        bytes = SOCKET_BYTES;
    enter();
    append(SENT, 0, 0, 0, bytes, "", "", data, parts, bytes);
    leave();
}

enum how { PLAIN, AT };

static ssize_t do_write(int handle, const struct iovec *data, int parts, enum how how,
                        off64_t offset, int vector, int rwf)
{
    char buffer[PATH_MAX];
    struct stat64 found;
    const char *path = is_on() ? look(handle, buffer, &found) : NULL;
    if (path)
        enter();
    ssize_t done = -1;
    int error = path ? burn(WRITE, path) : 0;
    if (error) {
        errno = error;
    } else if (how == AT) {
        done = vector ? (rwf ? real_pwritev64v2(handle, data, parts, offset, rwf)
                             : real_pwritev64(handle, data, parts, offset))
                      : real_pwrite64(handle, data->iov_base, data->iov_len, offset);
    } else {
        done = vector ? real_writev(handle, data, parts)
                      : real_write(handle, data->iov_base, data->iov_len);
    }
    if (path) {
        if (done > 0) {
            /* Also with O_APPEND the handle then stands at the end of what it wrote. */
            int append_only = fcntl(handle, F_GETFL) & O_APPEND;
            if (how == AT && append_only)
                refuse("a positioned write to an appending handle", path);
            off64_t from = how == AT ? offset : lseek64(handle, 0, SEEK_CUR) - done;
            append(WRITE, is_synced(handle) || (rwf & (RWF_DSYNC | RWF_SYNC)),
                   found.st_ino, (uint64_t)from, (uint64_t)done, path, "", data, parts,
                   (size_t)done);
            burn_after();
        }
        leave();
    }
    return done;
}

ssize_t write(int handle, const void *data, size_t bytes)
{
    struct iovec one = {(void *)data, bytes};
    note_sent(handle, &one, 1);
    return do_write(handle, &one, 1, PLAIN, 0, 0, 0);
}

ssize_t writev(int handle, const struct iovec *data, int parts)
{
    note_sent(handle, data, parts);
    return do_write(handle, data, parts, PLAIN, 0, 1, 0);
}

ssize_t pwrite64(int handle, const void *data, size_t bytes, off64_t offset)
{
    struct iovec one = {(void *)data, bytes};
    return do_write(handle, &one, 1, AT, offset, 0, 0);
}

ssize_t pwrite(int handle, const void *data, size_t bytes, off_t offset)
{
    return pwrite64(handle, data, bytes, offset);
}

ssize_t pwritev64(int handle, const struct iovec *data, int parts, off64_t offset)
{
    return do_write(handle, data, parts, AT, offset, 1, 0);
}

ssize_t pwritev(int handle, const struct iovec *data, int parts, off_t offset)
{
    return do_write(handle, data, parts, AT, offset, 1, 0);
}

ssize_t pwritev64v2(int handle, const struct iovec *data, int parts, off64_t offset,
                    int rwf)
{
    if (offset == -1) {
        note_sent(handle, data, parts);
        return do_write(handle, data, parts, PLAIN, 0, 1, rwf);
    }
    return do_write(handle, data, parts, AT, offset, 1, rwf);
}

ssize_t pwritev2(int handle, const struct iovec *data, int parts, off_t offset, int rwf)
{
    return pwritev64v2(handle, data, parts, offset, rwf);
}

ssize_t send(int handle, const void *data, size_t bytes, int flags)
{
    struct iovec one = {(void *)data, bytes};
    note_sent(handle, &one, 1);
    return real_send(handle, data, bytes, flags);
}

ssize_t sendto(int handle, const void *data, size_t bytes, int flags,
               const struct sockaddr *to, socklen_t to_bytes)
{
    struct iovec one = {(void *)data, bytes};
    note_sent(handle, &one, 1);
    return real_sendto(handle, data, bytes, flags, to, to_bytes);
}

ssize_t sendmsg(int handle, const struct msghdr *message, int flags)
{
    note_sent(handle, message->msg_iov, (int)message->msg_iovlen);
    return real_sendmsg(handle, message, flags);
}

int ftruncate64(int handle, off64_t length)
{
    char buffer[PATH_MAX];
    struct stat64 found;
    const char *path = is_on() ? look(handle, buffer, &found) : NULL;
    if (!path)
        return real_ftruncate64(handle, length);
    enter();
    int error = burn(TRUNCATE, path), done = -1;
    if (error)
        errno = error;
    else
        done = real_ftruncate64(handle, length);
    if (!done) {
        append(TRUNCATE, is_synced(handle), found.st_ino, (uint64_t)length, 0, path, "",
               NULL, 0, 0);
        burn_after();
    }
    leave();
    return done;
}

int ftruncate(int handle, off_t length) { return ftruncate64(handle, length); }

int truncate64(const char *name, off64_t length)
{
    int handle = open64(name, O_WRONLY | O_CLOEXEC);
    if (handle < 0)
        return -1;
    int done = ftruncate64(handle, length), kept = errno;
    close(handle);
    errno = kept;
    return done;
}

int truncate(const char *name, off_t length) { return truncate64(name, length); }

static int do_allocate(int handle, int mode, off64_t offset, off64_t length, int posix)
{
    char buffer[PATH_MAX];
    struct stat64 found;
    const char *path = is_on() ? look(handle, buffer, &found) : NULL;
    if (!path)
        return posix ? real_posix_fallocate64(handle, offset, length)
                     : real_fallocate64(handle, mode, offset, length);
    enter();
    int error = burn(EXTEND, path), done;
    if (error) {
        errno = error;
        done = posix ? error : -1;
    } else {
        done = posix ? real_posix_fallocate64(handle, offset, length)
                     : real_fallocate64(handle, mode, offset, length);
    }
    if (!done) {
        if (mode & ~FALLOC_FL_KEEP_SIZE)
            refuse("fallocate that changes what is there", path);
        else if (!mode)
            append(EXTEND, 0, found.st_ino, (uint64_t)(offset + length), 0, path, "",
                   NULL, 0, 0);
        burn_after();
    }
    leave();
    return done;
}

int fallocate64(int handle, int mode, off64_t offset, off64_t length)
{
    return do_allocate(handle, mode, offset, length, 0);
}

int fallocate(int handle, int mode, off_t offset, off_t length)
{
    return do_allocate(handle, mode, offset, length, 0);
}

int posix_fallocate64(int handle, off64_t offset, off64_t length)
{
    return do_allocate(handle, 0, offset, length, 1);
}

int posix_fallocate(int handle, off_t offset, off_t length)
{
    return do_allocate(handle, 0, offset, length, 1);
}

/* --- barriers */

static int do_sync(int handle, int (*real)(int))
{
    char buffer[PATH_MAX];
    struct stat64 found;
    const char *path = is_on() ? look(handle, buffer, &found) : NULL;
    if (!path)
        return real(handle);
    enter();
    int error = burn(SYNC, path), done = -1;
    if (error)
        errno = error;
    else
        done = real(handle);
    append(done ? SYNC_FAILED : SYNC, 0, found.st_ino, 0, 0, path, "", NULL, 0, 0);
    burn_after();
    leave();
    return done;
}

int fsync(int handle)
{
    pthread_once(&once, set_up);
    return do_sync(handle, real_fsync);
}

int fdatasync(int handle)
{
    pthread_once(&once, set_up);
    return do_sync(handle, real_fdatasync);
}

/* --- names */

static int do_rename(int from, const char *old, int to, const char *new, unsigned flags)
{
    char old_buffer[PATH_MAX], new_buffer[PATH_MAX];
    const char *source = is_on() ? find_by_name(from, old, old_buffer) : NULL;
    const char *target = is_on() ? find_by_name(to, new, new_buffer) : NULL;
    if (!source && !target)
        return real_renameat2(from, old, to, new, flags);
    enter();
    struct stat64 found = {0};
    int known = !fstatat64(from, old, &found, AT_SYMLINK_NOFOLLOW);
    int error = known ? burn(RENAME, target ? target : source) : 0, done = -1;
    if (error)
        errno = error;
    else
        done = real_renameat2(from, old, to, new, flags);
    if (!done) {
        if (!source || !target || (flags & RENAME_EXCHANGE))
            refuse("a rename across the border, or an exchange", source ? source : target);
        else
            append(RENAME, 0, found.st_ino, 0, 0, source, target, NULL, 0, 0);
        burn_after();
    }
    leave();
    return done;
}

int rename(const char *old, const char *new)
{
    return do_rename(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return do_rename(from, old, to, new, 0);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    return do_rename(from, old, to, new, flags);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    char buffer[PATH_MAX];
    const char *path = is_on() ? find_by_name(to, new, buffer) : NULL;
    if (!path)
        return real_linkat(from, old, to, new, flags);
    enter();
    int error = burn(LINK, path), done = -1;
    if (error)
        errno = error;
    else
        done = real_linkat(from, old, to, new, flags);
    struct stat64 found = {0};
    if (!done && !fstatat64(to, new, &found, AT_SYMLINK_NOFOLLOW)) {
        append(LINK, 0, found.st_ino, 0, 0, path, "", NULL, 0, 0);
        burn_after();
    }
    leave();
    return done;
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int symlinkat(const char *content, int to, const char *new)
{
    char buffer[PATH_MAX];
    const char *path = is_on() ? find_by_name(to, new, buffer) : NULL;
    int done = real_symlinkat(content, to, new);
    if (path && !done) {
        enter();
        refuse("a symbolic link", path);
        leave();
    }
    return done;
}

int symlink(const char *content, const char *new)
{
    return symlinkat(content, AT_FDCWD, new);
}

int unlinkat(int folder, const char *name, int flags)
{
    char buffer[PATH_MAX];
    const char *path = is_on() ? find_by_name(folder, name, buffer) : NULL;
    if (!path)
        return real_unlinkat(folder, name, flags);
    enter();
    enum kind kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    struct stat64 found = {0};
    int known = !fstatat64(folder, name, &found, AT_SYMLINK_NOFOLLOW);
    int error = known ? burn(kind, path) : 0, done = -1;
    if (error)
        errno = error;
    else
        done = real_unlinkat(folder, name, flags);
    if (!done) {
        append(kind, 0, found.st_ino, 0, 0, path, "", NULL, 0, 0);
        burn_after();
    }
    leave();
    return done;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int remove(const char *name)
{
    int done = unlink(name);
    return done && errno == EISDIR ? rmdir(name) : done;
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *path = is_on() ? find_by_name(folder, name, buffer) : NULL;
    if (!path)
        return real_mkdirat(folder, name, mode);
    enter();
    struct stat64 found = {0};
    int existed = !fstatat64(folder, name, &found, AT_SYMLINK_NOFOLLOW);
    int error = existed ? 0 : burn(MKDIR, path), done = -1;
    if (error)
        errno = error;
    else
        done = real_mkdirat(folder, name, mode);
    if (!done && !fstatat64(folder, name, &found, AT_SYMLINK_NOFOLLOW)) {
        append(MKDIR, 0, found.st_ino, 0, 0, path, "", NULL, 0, 0);
        burn_after();
    }
    leave();
    return done;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

/* --- what cannot be followed */

void *mmap64(void *address, size_t bytes, int protection, int flags, int handle,
             off64_t offset)
{
    pthread_once(&once, set_up);
    if (is_on() && handle >= 0 && !(flags & MAP_ANONYMOUS) &&
        (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE)) {
        char buffer[PATH_MAX];
        struct stat64 found;
        const char *path = look(handle, buffer, &found);
        /* The index of a write-ahead log is made anew by who opens it first. */
        if (path && (strlen(path) < 4 || strcmp(path + strlen(path) - 4, "-shm"))) {
            enter();
            refuse("a shared writable mapping", path);
            leave();
        }
    }
    return real_mmap64(address, bytes, protection, flags, handle, offset);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int handle,
           off_t offset)
{
    return mmap64(address, bytes, protection, flags, handle, offset);
}

static void refuse_target(int handle, const char *what)
{
    char buffer[PATH_MAX];
    struct stat64 found;
    const char *path = is_on() ? look(handle, buffer, &found) : NULL;
    if (path) {
        enter();
        refuse(what, path);
        leave();
    }
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t bytes)
{
    refuse_target(to, "sendfile into a file");
    return real_sendfile64(to, from, offset, bytes);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t bytes)
{
    return sendfile64(to, from, (off64_t *)offset, bytes);
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset,
                        size_t bytes, unsigned flags)
{
    refuse_target(to, "copy_file_range into a file");
    return real_copy_file_range(from, from_offset, to, to_offset, bytes, flags);
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes,
               unsigned flags)
{
    refuse_target(to, "splice into a file");
    return real_splice(from, from_offset, to, to_offset, bytes, flags);
}
