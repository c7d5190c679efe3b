/* Golden vectors: events as lists of indices (one entry per event), membranes as they are. */
#ifndef SNN_GOLDEN_H
#define SNN_GOLDEN_H

#include <stdint.h>

#include "network.h"

#define GOLDEN_SAMPLES {samples}
#define GOLDEN_STEPS {steps}

typedef uint{index_bits}_t golden_index;

/* Step t of sample s is place s * GOLDEN_STEPS + t. */
typedef struct {{
    const uint32_t *starts; /* of the events of each place, and the end of the last; 0 for integrators */
    const golden_index *index;
    const int32_t *membrane; /* [place][neuron]; 0 for spiking neurons */
}} golden_layer;

extern const golden_layer golden_inputs;
extern const golden_layer golden_outputs[SNN_POPULATIONS];

#endif
