// CUDA C on a CPU, for tests: a block's threads run one after the other, each as far as its next barrier.
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
using std::exp;

struct Index {
    unsigned x = 0, y = 0, z = 0;
};
static Index blockIdx, blockDim, gridDim, threadIdx;

namespace host {
constexpr std::size_t STACK = 64 * 1024;
static ucontext_t scheduler;
static std::vector<ucontext_t> threads;
static std::vector<char> finished;
static std::size_t current;
static std::function<void()> kernel;

static void enter() {
    kernel();
    finished[current] = 1;
}

static void run(unsigned grid, unsigned block_x, unsigned block_y, std::function<void()> body) {
    kernel = body;
    gridDim.x = grid, blockDim.x = block_x, blockDim.y = block_y;
    static std::vector<char> stacks;
    const std::size_t count = std::size_t(block_x) * block_y;
    if (stacks.size() < count * STACK) stacks.resize(count * STACK);
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
        threads.assign(count, ucontext_t{});
        finished.assign(count, 0);
        for (std::size_t i = 0; i < count; ++i) {
            getcontext(&threads[i]);
            threads[i].uc_stack.ss_sp = &stacks[i * STACK];
            threads[i].uc_stack.ss_size = STACK;
            threads[i].uc_link = &scheduler;
            makecontext(&threads[i], enter, 0);
        }
        for (std::size_t left = count; left;) {
            left = 0;
            for (current = 0; current < count; ++current) {
                if (finished[current]) continue;
                threadIdx.x = current % block_x, threadIdx.y = current / block_x;
                swapcontext(&scheduler, &threads[current]);
                left += !finished[current];
            }
        }
    }
}
}  // namespace host

static void __syncthreads() { swapcontext(&host::threads[host::current], &host::scheduler); }
