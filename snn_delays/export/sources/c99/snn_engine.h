/* A spiking network with a delay per synapse, in integers. Needs <stdint.h> alone: no heap, no library.
 *
 * In a step, for each population and neuron i, with x the sum of the weights that arrive:
 *
 *     h = trunc(v * decay_code / 2^decay_bits) + x * 2^weight_shift + bias[i],   saturated to +-limit
 *     fires where h > threshold (strict) or h >= threshold;   then v = 0 (hard) or h - threshold (soft), else v = h
 *
 * A spike of step t with delay d arrives in step t + d; delay 0 is seen by the next population in the same step.
 */
#ifndef SNN_ENGINE_H
#define SNN_ENGINE_H

#include <stdint.h>

#include "network.h"

enum {
    SNN_OK = 0,
    SNN_OVERFLOW = 1 /* a current exceeds limit, where chips wrap around: see fault_*; reset before the next step */
};

typedef struct {
    const char *name;
    const uint32_t *rows; /* where each source's synapses begin; own neurons follow the sources if recurrent */
    const snn_target *target;
    const snn_delay *delay;
    const snn_weight *weight;
    const int32_t *bias;
    uint32_t sources;
    uint32_t neurons;
    uint32_t ring_rows;    /* longest delay + 1 */
    uint32_t first_neuron; /* place in snn_state's membrane and spikes */
    uint32_t first_current; /* place in snn_state's ring */
    uint32_t decay_code;
    int32_t limit;
    int32_t threshold;
    uint8_t decay_bits;
    uint8_t weight_shift;
    uint8_t fires; /* else leaky integrators, read by their membranes */
    uint8_t recurrent;
    uint8_t soft_reset;
    uint8_t strict;
} snn_population;

extern const snn_population snn_populations[SNN_POPULATIONS];

typedef struct {
    uint64_t synaptic_operations; /* synapses walked since the reset; a count of any size walks its row once */
    snn_current ring[SNN_CURRENTS]; /* per population [ring_rows][neurons]: currents of the steps to come */
    int32_t membrane[SNN_NEURONS];
    uint32_t row[SNN_POPULATIONS]; /* of the ring, this step's */
    uint32_t fault_population;
    uint32_t fault_neuron;
    uint8_t spikes[SNN_NEURONS]; /* of the last step, all populations one after the other */
} snn_state;

/* Everything at rest. Call it once before the first step. */
void snn_reset(snn_state *state);

/* One step: counts of events in, the last population's membranes (or spikes, if it fires) out. SNN_OK or an error. */
int snn_step(snn_state *state, const uint8_t counts[SNN_INPUTS], int32_t outputs[SNN_OUTPUTS]);

#endif
