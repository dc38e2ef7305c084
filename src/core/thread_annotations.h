// Clang's thread-safety annotations and the mutex that carries them: which lock guards a field is checked by the
// compiler.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define PGARK_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define PGARK_THREAD_ANNOTATION(x)  // GCC has no such analysis.
#endif

#define CAPABILITY(name) PGARK_THREAD_ANNOTATION(capability(name))
#define SCOPED_CAPABILITY PGARK_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(mutex) PGARK_THREAD_ANNOTATION(guarded_by(mutex))
#define PT_GUARDED_BY(mutex) PGARK_THREAD_ANNOTATION(pt_guarded_by(mutex))
#define REQUIRES(...) PGARK_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) PGARK_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) PGARK_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) PGARK_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) PGARK_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS PGARK_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace pgark {

/// std::mutex with annotations, which the one of libstdc++ lacks.
class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ACQUIRE() { raw_.lock(); }
  void unlock() RELEASE() { raw_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return raw_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex raw_;
};

/// Holds a Mutex until the end of its scope; unlock() and lock() let go of it in between.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() RELEASE() {
    mutex_.unlock();
    held_ = false;
  }
  void lock() ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

/// Condition variable of a Mutex. Wakes for no reason at times: wait in a loop over the condition.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.raw_, std::adopt_lock);
    changed_.wait(lock);
    lock.release();  // The caller still holds it.
  }
  /// Wait at most `duration`.
  void wait_for(Mutex& mutex, std::chrono::milliseconds duration) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.raw_, std::adopt_lock);
    changed_.wait_for(lock, duration);
    lock.release();
  }
  void notify_one() { changed_.notify_one(); }
  void notify_all() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

}  // namespace pgark
