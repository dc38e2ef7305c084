// A library to preload into a program so that a directory answers like a store far away: every call that names a file
// below PGARK_SLOW_PATH (open, stat, list, rename, link, remove) first waits PGARK_SLOW_MS milliseconds. Reading and
// writing open files costs nothing, nor does asking for the size of a file that was just listed. Only for tools/bench/wal.py.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

/// The path that a call names, if it is below PGARK_SLOW_PATH.
static int is_below(int directory, const char *path, char *full) {
  const char *root = getenv("PGARK_SLOW_PATH");
  if (root == NULL || path == NULL) return 0;
  int length = 0;
  if (path[0] != '/' && directory != AT_FDCWD) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    length = (int)readlink(link, full, PATH_MAX - 1);
    if (length < 0) return 0;
    full[length++] = '/';
  } else if (strncmp(path, "/proc/self/fd/", 14) == 0) {  // Of a file being linked into place.
    return 0;
  }
  if (snprintf(full + length, (size_t)(PATH_MAX - length), "%s", path) >= PATH_MAX - length) return 0;
  return strncmp(full, root, strlen(root)) == 0;
}

static void wait_now(void) {
  const char *delay = getenv("PGARK_SLOW_MS");
  if (delay == NULL) return;
  const long milliseconds = strtol(delay, NULL, 10);
  struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0) {
  }
}

static void wait_if_below(int directory, const char *path) {
  char full[PATH_MAX];
  if (strcmp(path, ".") != 0 && is_below(directory, path, full)) wait_now();  // ".": is open already.
}

// Hashes of the directories that were listed last: what a far store lists comes with sizes and times, so asking for those
// of one file after the other costs nothing more.
static _Atomic(size_t) listed[64];
static _Atomic(unsigned) listed_count;

static size_t hash_of(const char *path, size_t length) {
  while (length > 0 && path[length - 1] == '/') --length;
  size_t hash = 14695981039346656037u;
  for (size_t i = 0; i < length; ++i) hash = (hash ^ (unsigned char)path[i]) * 1099511628211u;
  return hash;
}

static void note_listing(int directory, const char *path) {
  char full[PATH_MAX];
  if (is_below(directory, path, full)) listed[listed_count++ % 64] = hash_of(full, strlen(full));
}

static void wait_for_status(int directory, const char *path) {
  char full[PATH_MAX];
  if (!is_below(directory, path, full)) return;
  const char *slash = strrchr(full, '/');
  const size_t parent = hash_of(full, (size_t)(slash - full));
  for (unsigned i = 0; i < 64; ++i)
    if (listed[i] == parent) return;
  wait_now();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// The mode is there only with O_CREAT and O_TMPFILE; passing on whatever stands in its place is harmless otherwise.
#define OPEN(name)                              \
  int name(const char *path, int flags, ...) {  \
    va_list rest;                               \
    va_start(rest, flags);                      \
    const mode_t mode = va_arg(rest, mode_t);   \
    va_end(rest);                               \
    wait_if_below(AT_FDCWD, path);              \
    return NEXT(name)(path, flags, mode);       \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                           \
  int name(int directory, const char *path, int flags, ...) {  \
    va_list rest;                                              \
    va_start(rest, flags);                                     \
    const mode_t mode = va_arg(rest, mode_t);                  \
    va_end(rest);                                              \
    wait_if_below(directory, path);                            \
    return NEXT(name)(directory, path, flags, mode);           \
  }
OPENAT(openat)
OPENAT(openat64)

DIR *opendir(const char *path) {
  wait_if_below(AT_FDCWD, path);
  note_listing(AT_FDCWD, path);
  return NEXT(opendir)(path);
}
DIR *fdopendir(int fd) {
  note_listing(fd, "");
  return NEXT(fdopendir)(fd);
}
int stat(const char *path, struct stat *out) {
  wait_for_status(AT_FDCWD, path);
  return NEXT(stat)(path, out);
}
int lstat(const char *path, struct stat *out) {
  wait_for_status(AT_FDCWD, path);
  return NEXT(lstat)(path, out);
}
int fstatat(int directory, const char *path, struct stat *out, int flags) {
  if (path[0] != '\0') wait_for_status(directory, path);  // Empty: an open file is asked.
  return NEXT(fstatat)(directory, path, out, flags);
}
int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
  if (path[0] != '\0') wait_for_status(directory, path);
  return NEXT(statx)(directory, path, flags, mask, out);
}
int access(const char *path, int mode) {
  wait_if_below(AT_FDCWD, path);
  return NEXT(access)(path, mode);
}
int utime(const char *path, const struct utimbuf *times) {
  wait_if_below(AT_FDCWD, path);
  return NEXT(utime)(path, times);
}
int rename(const char *from, const char *to) {
  wait_if_below(AT_FDCWD, to);
  return NEXT(rename)(from, to);
}
int renameat(int from_directory, const char *from, int to_directory, const char *to) {
  wait_if_below(to_directory, to);
  return NEXT(renameat)(from_directory, from, to_directory, to);
}
int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags) {
  wait_if_below(to_directory, to);
  return NEXT(renameat2)(from_directory, from, to_directory, to, flags);
}
int link(const char *from, const char *to) {
  wait_if_below(AT_FDCWD, to);
  return NEXT(link)(from, to);
}
int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
  wait_if_below(to_directory, to);
  return NEXT(linkat)(from_directory, from, to_directory, to, flags);
}
int unlink(const char *path) {
  wait_if_below(AT_FDCWD, path);
  return NEXT(unlink)(path);
}
int unlinkat(int directory, const char *path, int flags) {
  wait_if_below(directory, path);
  return NEXT(unlinkat)(directory, path, flags);
}
int mkdir(const char *path, mode_t mode) {
  wait_if_below(AT_FDCWD, path);
  return NEXT(mkdir)(path, mode);
}
int mkdirat(int directory, const char *path, mode_t mode) {
  wait_if_below(directory, path);
  return NEXT(mkdirat)(directory, path, mode);
}
