// A library to preload into a program so that a directory answers like a store far away: every call that names a file
// below PGARK_SLOW_PATH (open, stat, list, rename, link, remove) first waits PGARK_SLOW_MS milliseconds. Reading and
// writing open files costs nothing. Only for tools/bench/wal.py.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

static void wait_if_below(int directory, const char *path) {
  const char *root = getenv("PGARK_SLOW_PATH");
  const char *delay = getenv("PGARK_SLOW_MS");
  if (root == NULL || delay == NULL || path == NULL) return;
  char resolved[PATH_MAX];
  if (path[0] != '/' && directory != AT_FDCWD) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    const ssize_t count = readlink(link, resolved, sizeof resolved - 1);
    if (count < 0) return;
    resolved[count] = '\0';
    path = resolved;
  } else if (strncmp(path, "/proc/self/fd/", 14) == 0) {  // Of a file being linked into place.
    return;
  }
  if (strncmp(path, root, strlen(root)) != 0) return;
  const long milliseconds = strtol(delay, NULL, 10);
  struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0) {
  }
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
  return NEXT(opendir)(path);
}
int stat(const char *path, struct stat *out) {
  wait_if_below(AT_FDCWD, path);
  return NEXT(stat)(path, out);
}
int lstat(const char *path, struct stat *out) {
  wait_if_below(AT_FDCWD, path);
  return NEXT(lstat)(path, out);
}
int fstatat(int directory, const char *path, struct stat *out, int flags) {
  if (path[0] != '\0') wait_if_below(directory, path);  // Empty: an open file is asked.
  return NEXT(fstatat)(directory, path, out, flags);
}
int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
  if (path[0] != '\0') wait_if_below(directory, path);
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
