// Delays as a gather of few taps. Compiled with -Dreal=float or double.
//
// Neighbouring threads hold neighbouring items of the batch, so a synapse's delay is the same for a warp and every read
// of a step is one whole line. Signals therefore come as [neuron][step][batch]. A thread keeps STEPS successive steps of
// one neuron in registers and adds up its synapses; the warps of a block share input neurons and with them the first-
// level cache. TAPS taps are taken at once: they look at the same steps but for TAPS - 1, so the signal is read once for
// all of them.

constexpr int LANES = 32;    // items of the batch in a block
constexpr int OUTPUTS = 8;   // neurons in a block of gather
constexpr int STEPS = 20;    // steps of a thread of gather
constexpr int WARPS = 4;     // neurons in a block of gather_values
constexpr int GROUP = 8;     // synapses of a warp of gather_values
constexpr int STRETCH = 16;  // steps that gather_values takes at once

__device__ __forceinline__ int tiles(int size, int tile) { return (size + tile - 1) / tile; }

// FORWARD: out[n][t][b] = sum over j, c, m of value[m,n,j,c] signal[j][t + past - start[n,j,c] - m][b]
// else:    out[n][t][b] = sum over j, c, m of value[m,n,j,c] signal[j][t - past + start[n,j,c] + m][b]
// with silence outside the rows of the signal. start and value are read through their strides, c being the last axis.
template <int TAPS, bool FORWARD>
__device__ __forceinline__ void gather(
    const real* __restrict__ signal, const int* __restrict__ start, int start_n, int start_j,
    const real* __restrict__ value, int value_m, int value_n, int value_j, int past, int taps, int count,
    int inputs, int outputs, int rows, int steps, int batch, real* __restrict__ out) {
    const int n_tiles = tiles(outputs, OUTPUTS), b_tiles = tiles(batch, LANES);
    const int n = (blockIdx.x % n_tiles) * OUTPUTS + threadIdx.y;
    const int b = (blockIdx.x / n_tiles % b_tiles) * LANES + threadIdx.x;
    const int first = (blockIdx.x / n_tiles / b_tiles) * STEPS;
    if (n >= outputs || b >= batch) return;
    real sum[STEPS];
#pragma unroll
    for (int t = 0; t < STEPS; ++t) sum[t] = 0;
    for (int j = 0; j < inputs; ++j) {
        const real* line = signal + (size_t)j * rows * batch + b;
        for (int c = 0; c < count; ++c) {
            const int delay = start[(size_t)n * start_n + (size_t)j * start_j + c];
            const real* weight = value + (size_t)n * value_n + (size_t)j * value_j + c;
            for (int m = 0; m < taps; m += TAPS) {
                const int low = FORWARD ? first + past - delay - m - (TAPS - 1) : first - past + delay + m;
                real w[TAPS], window[STEPS + TAPS - 1];
#pragma unroll
                for (int k = 0; k < TAPS; ++k) w[k] = m + k < taps ? weight[(size_t)(m + k) * value_m] : (real)0;
#pragma unroll
                for (int i = 0; i < STEPS + TAPS - 1; ++i) {
                    const int row = low + i;
                    window[i] = row >= 0 && row < rows ? line[(size_t)row * batch] : (real)0;
                }
#pragma unroll
                for (int k = 0; k < TAPS; ++k) {
                    if (m + k >= taps) break;  // zero times NaN would reach beyond the taps
#pragma unroll
                    for (int t = 0; t < STEPS; ++t) sum[t] += w[k] * window[t + (FORWARD ? TAPS - 1 - k : k)];
                }
            }
        }
    }
#pragma unroll
    for (int t = 0; t < STEPS; ++t)
        if (first + t < steps) out[((size_t)n * steps + first + t) * batch + b] = sum[t];
}

// sum[g][k] += over LENGTH steps from first, grad[t] * signal of synapse g at the step that its tap m + k looks at.
template <int TAPS, int LENGTH>
__device__ __forceinline__ void correlate(
    const real* __restrict__ grad, const real* const* __restrict__ line, const int* __restrict__ delay, int first,
    int m, int past, int rows, int batch, real (&sum)[GROUP][TAPS]) {
    real g[LENGTH];
#pragma unroll
    for (int t = 0; t < LENGTH; ++t) g[t] = grad[(size_t)(first + t) * batch];
#pragma unroll
    for (int s = 0; s < GROUP; ++s) {
        const int low = first + past - delay[s] - m - (TAPS - 1);
        real window[LENGTH + TAPS - 1];
#pragma unroll
        for (int i = 0; i < LENGTH + TAPS - 1; ++i) {
            const int row = low + i;
            window[i] = row >= 0 && row < rows ? line[s][(size_t)row * batch] : (real)0;
        }
#pragma unroll
        for (int k = 0; k < TAPS; ++k)
#pragma unroll
            for (int t = 0; t < LENGTH; ++t) sum[s][k] += g[t] * window[t + TAPS - 1 - k];
    }
}

// part[p][m][o][i * count + c] = sum over t, and b in part p, of grad[o][t][b] signal[i][t + past - start[o,i,c] - m][b]
// A warp sums GROUP synapses of one output neuron over the batch; its lanes meet in shared memory. No atomics: the
// parts are added by the caller, so the result is the same every time.
template <int TAPS>
__device__ __forceinline__ void gather_values(
    const real* __restrict__ grad, const real* __restrict__ signal, const int* __restrict__ start, int past,
    int taps, int count, int inputs, int outputs, int rows, int steps, int batch, int parts, real* __restrict__ part) {
    __shared__ real meet[WARPS][GROUP * TAPS][LANES + 1];
    const int synapses = inputs * count, o_tiles = tiles(outputs, WARPS), s_tiles = tiles(synapses, GROUP);
    const int m_tiles = tiles(taps, TAPS);
    const int o = (blockIdx.x % o_tiles) * WARPS + threadIdx.y;
    const int s0 = (blockIdx.x / o_tiles % s_tiles) * GROUP;
    const int m = (blockIdx.x / o_tiles / s_tiles % m_tiles) * TAPS;
    const int p = blockIdx.x / o_tiles / s_tiles / m_tiles;
    real sum[GROUP][TAPS];
#pragma unroll
    for (int s = 0; s < GROUP; ++s)
#pragma unroll
        for (int k = 0; k < TAPS; ++k) sum[s][k] = 0;
    if (o < outputs) {
        int delay[GROUP];
#pragma unroll
        for (int s = 0; s < GROUP; ++s) {
            const int which = s0 + s < synapses ? s0 + s : synapses - 1;  // repeats the last one, and is not written
            delay[s] = start[(size_t)o * synapses + which];
        }
        for (int b = p * LANES + threadIdx.x; b < batch; b += parts * LANES) {
            const real* line[GROUP];
#pragma unroll
            for (int s = 0; s < GROUP; ++s) {
                const int which = s0 + s < synapses ? s0 + s : synapses - 1;
                line[s] = signal + (size_t)(which / count) * rows * batch + b;
            }
            const real* from = grad + (size_t)o * steps * batch + b;
            int t = 0;
            for (; t + STRETCH <= steps; t += STRETCH)
                correlate<TAPS, STRETCH>(from, line, delay, t, m, past, rows, batch, sum);
            for (; t < steps; ++t) correlate<TAPS, 1>(from, line, delay, t, m, past, rows, batch, sum);
        }
    }
#pragma unroll
    for (int s = 0; s < GROUP; ++s)
#pragma unroll
        for (int k = 0; k < TAPS; ++k) meet[threadIdx.y][s * TAPS + k][threadIdx.x] = sum[s][k];
    __syncthreads();
    const int s = threadIdx.x / TAPS, k = threadIdx.x % TAPS;
    if (o >= outputs || s >= GROUP || s0 + s >= synapses || m + k >= taps) return;
    real total = 0;
    for (int lane = 0; lane < LANES; ++lane) total += meet[threadIdx.y][threadIdx.x][lane];
    part[(((size_t)p * taps + m + k) * outputs + o) * synapses + s0 + s] = total;
}

#define GATHER(NAME, TAPS, FORWARD)                                                                                    \
    extern "C" __global__ void NAME(                                                                                   \
        const real* signal, const int* start, int start_n, int start_j, const real* value, int value_m, int value_n,  \
        int value_j, int past, int taps, int count, int inputs, int outputs, int rows, int steps, int batch,       \
        real* out) {                                                                                                   \
        gather<TAPS, FORWARD>(signal, start, start_n, start_j, value, value_m, value_n, value_j, past, taps, count, \
                              inputs, outputs, rows, steps, batch, out);                                               \
    }

#define GATHER_VALUES(NAME, TAPS)                                                                                      \
    extern "C" __global__ void NAME(                                                                                   \
        const real* grad, const real* signal, const int* start, int past, int taps, int count, int inputs,         \
        int outputs, int rows, int steps, int batch, int parts, real* part) {                                          \
        gather_values<TAPS>(grad, signal, start, past, taps, count, inputs, outputs, rows, steps, batch, parts,     \
                            part);                                                                                     \
    }

GATHER(forward_1, 1, true)
GATHER(forward_2, 2, true)
GATHER(forward_4, 4, true)
GATHER(backward_1, 1, false)
GATHER(backward_2, 2, false)
GATHER(backward_4, 4, false)
GATHER_VALUES(values_1, 1)
GATHER_VALUES(values_2, 2)
GATHER_VALUES(values_4, 4)
