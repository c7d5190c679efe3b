// Depthwise filters, forward and backward. Neighbours in a warp are neighbouring neurons. A thread keeps a few sums that
// need the same numbers one step apart, and slides a window over them: one read for each lag. Compiled with -Dreal=float
// or double. "line" is the history, `past = lags - 1` steps, and the input after it; all is [time, lane], a lane being a
// (batch, neuron) pair, and the kernel is [lag, mix, neuron].

constexpr int TILE = 8;  // steps, or lags, that a thread sums
constexpr int MIXES = 4;  // filters for which it reads the line once

__device__ __forceinline__ real read_line(
    const real* __restrict__ history, const real* __restrict__ x, int at, int past, int steps, int lanes, int lane) {
    if (at < 0 || at >= past + steps) return 0;
    return at < past ? history[(size_t)at * lanes + lane] : x[(size_t)(at - past) * lanes + lane];
}

// y[m, t] = sum_k kernel[k, m] line[t + past - k]. A thread per lane, tile of steps and group of MIXES filters.
extern "C" __global__ void depthwise_forward(
    const real* __restrict__ x, const real* __restrict__ history, const real* __restrict__ kernel, int lags, int mixes,
    int steps, int lanes, int neurons, real* __restrict__ y) {
    const long long id = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const int lane = id % lanes, neuron = lane % neurons, past = lags - 1;
    const int tiles = (steps + TILE - 1) / TILE, first = id / lanes % tiles * TILE;
    const long long group = id / lanes / tiles * MIXES;
    if (group >= mixes) return;
    const int count = mixes - group < MIXES ? mixes - group : MIXES;
    real sums[MIXES][TILE] = {}, window[TILE];
#pragma unroll
    for (int i = 0; i < TILE; ++i) window[i] = read_line(history, x, first + past + i, past, steps, lanes, lane);
    for (int k = 0; k < lags; ++k) {
#pragma unroll
        for (int m = 0; m < MIXES; ++m) {
            if (m >= count) break;
            const real weight = kernel[((size_t)k * mixes + group + m) * neurons + neuron];
#pragma unroll
            for (int i = 0; i < TILE; ++i) sums[m][i] += weight * window[i];
        }
#pragma unroll
        for (int i = TILE - 1; i > 0; --i) window[i] = window[i - 1];
        window[0] = read_line(history, x, first + past - k - 1, past, steps, lanes, lane);
    }
#pragma unroll
    for (int m = 0; m < MIXES; ++m) {
        if (m >= count) break;
#pragma unroll
        for (int i = 0; i < TILE; ++i)
            if (first + i < steps) y[((size_t)(group + m) * steps + first + i) * lanes + lane] = sums[m][i];
    }
}

// grad_line[s] = sum_{m, k} kernel[k, m] grad_y[m, s - past + k], from `least` on: 0, or past where the history does not
// learn. A thread per lane and tile of steps.
extern "C" __global__ void depthwise_backward_line(
    const real* __restrict__ grad_y, const real* __restrict__ kernel, int lags, int mixes, int steps, int lanes,
    int neurons, int least, real* __restrict__ grad_x, real* __restrict__ grad_history) {
    const long long id = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const int lane = id % lanes, neuron = lane % neurons, past = lags - 1;
    const long long first = least + id / lanes * TILE;
    if (first >= past + (long long)steps) return;
    real sums[TILE] = {}, window[TILE];
    for (int m = 0; m < mixes; ++m) {
        const real* const grad = grad_y + (size_t)m * steps * lanes + lane;
#pragma unroll
        for (int i = 0; i < TILE; ++i) {
            const long long t = first - past + i;
            window[i] = t >= 0 && t < steps ? grad[t * lanes] : (real)0;
        }
        for (int k = 0; k < lags; ++k) {
            const real weight = kernel[((size_t)k * mixes + m) * neurons + neuron];
#pragma unroll
            for (int i = 0; i < TILE; ++i) sums[i] += weight * window[i];
#pragma unroll
            for (int i = 0; i < TILE - 1; ++i) window[i] = window[i + 1];
            const long long t = first - past + k + TILE;
            window[TILE - 1] = t >= 0 && t < steps ? grad[t * lanes] : (real)0;
        }
    }
#pragma unroll
    for (int i = 0; i < TILE; ++i) {
        const long long at = first + i;
        if (at < past) grad_history[at * lanes + lane] = sums[i];
        else if (at < past + (long long)steps && grad_x) grad_x[(at - past) * lanes + lane] = sums[i];
    }
}

// parts[part, k, m] = sum_t grad_y[m, t] line[t + past - k] over the steps of a part, which is a chunk of time of a sample:
// the caller adds the parts, in the same order every time. A thread per neuron, filter, tile of lags and part.
extern "C" __global__ void depthwise_backward_kernel(
    const real* __restrict__ grad_y, const real* __restrict__ x, const real* __restrict__ history, int lags, int mixes,
    int steps, int batch, int neurons, int chunk, real* __restrict__ parts) {
    const long long id = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const int tiles = (lags + TILE - 1) / TILE, chunks = (steps + chunk - 1) / chunk, past = lags - 1;
    const int neuron = id % neurons, m = id / neurons % mixes, first = id / neurons / mixes % tiles * TILE;
    const long long part = id / neurons / mixes / tiles;
    if (part >= (long long)chunks * batch) return;
    const int lanes = batch * neurons, lane = part % batch * neurons + neuron, begin = part / batch * chunk;
    const int end = begin + chunk < steps ? begin + chunk : steps;
    real sums[TILE] = {}, window[TILE];
#pragma unroll
    for (int i = 0; i < TILE; ++i)
        window[i] = read_line(history, x, begin + past - first - i, past, steps, lanes, lane);
    for (int t = begin; t < end; ++t) {
        const real grad = grad_y[((size_t)m * steps + t) * lanes + lane];
#pragma unroll
        for (int i = 0; i < TILE; ++i) sums[i] += grad * window[i];
#pragma unroll
        for (int i = TILE - 1; i > 0; --i) window[i] = window[i - 1];
        window[0] = read_line(history, x, t + 1 + past - first, past, steps, lanes, lane);
    }
#pragma unroll
    for (int i = 0; i < TILE; ++i)
        if (first + i < lags) parts[((part * lags + first + i) * mixes + m) * neurons + neuron] = sums[i];
}
