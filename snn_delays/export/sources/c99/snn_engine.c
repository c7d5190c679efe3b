#include "snn_engine.h"

void snn_reset(snn_state *state)
{
    uint32_t i;
    for (i = 0; i < SNN_CURRENTS; i++)
        state->ring[i] = 0;
    for (i = 0; i < SNN_NEURONS; i++) {
        state->membrane[i] = 0;
        state->spikes[i] = 0;
    }
    for (i = 0; i < SNN_POPULATIONS; i++)
        state->row[i] = 0;
    state->synaptic_operations = 0;
    state->fault_population = 0;
    state->fault_neuron = 0;
}

/* Spread one source's events over its synapses, each into the step in which it arrives. */
static void walk(snn_state *state, uint32_t index, uint32_t source, uint8_t count)
{
    const snn_population *population = &snn_populations[index];
    snn_current *ring = state->ring + population->first_current;
    const uint32_t end = population->rows[source + 1];
    uint32_t synapse = population->rows[source];

    state->synaptic_operations += end - synapse;
    for (; synapse < end; synapse++) {
        uint32_t row = state->row[index] + population->delay[synapse];
        snn_current *place;
        if (row >= population->ring_rows)
            row -= population->ring_rows;
        place = &ring[row * population->neurons + population->target[synapse]];
        /* snn_current is wide enough for all synapses of a neuron at once. */
        *place = (snn_current)(*place + (snn_current)population->weight[synapse] * (snn_current)count);
    }
}

/* The membrane after decay, current and bias. Shifts of negative numbers are not defined in C, hence the magnitude. */
static int32_t integrate(const snn_population *population, int32_t v, int64_t current, int32_t bias)
{
    const int64_t magnitude = v < 0 ? -(int64_t)v : (int64_t)v;
    const int64_t leaked = (magnitude * (int64_t)population->decay_code) >> population->decay_bits;
    const int64_t h = (v < 0 ? -leaked : leaked) + current + bias;

    if (h > population->limit)
        return population->limit;
    if (h < -(int64_t)population->limit)
        return -population->limit;
    return (int32_t)h;
}

static int update(snn_state *state, uint32_t index)
{
    const snn_population *population = &snn_populations[index];
    const int64_t unit = (int64_t)1 << population->weight_shift;
    const int64_t most = population->limit / unit;
    snn_current *ring = state->ring + population->first_current + state->row[index] * population->neurons;
    int32_t *membrane = state->membrane + population->first_neuron;
    uint8_t *spikes = state->spikes + population->first_neuron;
    uint32_t i;

    for (i = 0; i < population->neurons; i++) {
        const int64_t x = ring[i];
        int32_t h;
        if (x > most || x < -most) {
            state->fault_population = index;
            state->fault_neuron = i;
            return SNN_OVERFLOW;
        }
        ring[i] = 0;
        h = integrate(population, membrane[i], x * unit, population->bias[i]);
        if (population->fires) {
            spikes[i] = population->strict ? h > population->threshold : h >= population->threshold;
            if (spikes[i]) {
                h = population->soft_reset ? h - population->threshold : 0;
                if (population->recurrent)
                    walk(state, index, population->sources + i, 1);
            }
        }
        membrane[i] = h;
    }
    state->row[index] = state->row[index] + 1 < population->ring_rows ? state->row[index] + 1 : 0;
    return SNN_OK;
}

int snn_step(snn_state *state, const uint8_t counts[SNN_INPUTS], int32_t outputs[SNN_OUTPUTS])
{
    const snn_population *last = &snn_populations[SNN_POPULATIONS - 1];
    const uint8_t *arriving = counts;
    uint32_t index, i;

    for (index = 0; index < SNN_POPULATIONS; index++) {
        const snn_population *population = &snn_populations[index];
        for (i = 0; i < population->sources; i++)
            if (arriving[i])
                walk(state, index, i, arriving[i]);
        if (update(state, index) != SNN_OK)
            return SNN_OVERFLOW;
        arriving = state->spikes + population->first_neuron;
    }
    for (i = 0; i < SNN_OUTPUTS; i++)
        outputs[i] = last->fires ? state->spikes[last->first_neuron + i] : state->membrane[last->first_neuron + i];
    return SNN_OK;
}
