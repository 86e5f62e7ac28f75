// Work shared out among threads, and what Python hears of a failure; part of the compiled loops.

#include <atomic>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

// torch's own threads, where its OpenMP is GNU's: new ones would compete with these while they spin
typedef void Parallel(void (*)(void*), void*, unsigned, unsigned);
#if defined(__linux__)
extern "C" Parallel GOMP_parallel __attribute__((weak));
#else
constexpr Parallel* GOMP_parallel = nullptr;
#endif

namespace {

template <class Work>
void parallel(N items, N threads, Work work) {
  struct Loop {
    Work& work;
    N items;
    std::atomic<N> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // the first one; it must not leave its thread
    static void run(void* p) {
      Loop& loop = *(Loop*)p;
      try {
        for (N i; !loop.failed && (i = loop.next++) < loop.items;) loop.work(i);
      } catch (...) {
        if (!loop.failed.exchange(true)) loop.error = std::current_exception();
      }
    }
  } loop{work, items};
  if (threads > items) threads = items;
  if (threads > 1 && GOMP_parallel) GOMP_parallel(Loop::run, &loop, threads, 0);
  else {
    std::vector<std::thread> pool;
    pool.reserve(threads);
    try {
      while ((N)pool.size() < threads - 1) pool.emplace_back(Loop::run, &loop);
    } catch (const std::exception&) {  // no more threads to be had: those there do the work
    }
    Loop::run(&loop);
    for (auto& thread : pool) thread.join();
  }
  if (loop.error) std::rethrow_exception(loop.error);
}

// 1 if there is no memory: nothing else is thrown here, and nothing may be thrown into Python
template <class Run, class Args>
int answer(Run run, const Args* a, bool back) noexcept {
  try {
    run(*a, back);
    return 0;
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {  // more than a vector can ever hold
  }
  return 1;
}
}  // namespace
