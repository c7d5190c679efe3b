/* The network: sizes and types. The equation is in snn_engine.h, the data in network.c.
 *
{about}
 *
 * Constant data {flash} bytes (flash), state {ram} bytes (RAM), without padding. */
#ifndef SNN_NETWORK_H
#define SNN_NETWORK_H

#include <stdint.h>

#define SNN_POPULATIONS {populations}
#define SNN_INPUTS {inputs}
#define SNN_OUTPUTS {last.neurons}
#define SNN_NEURONS {neurons}
#define SNN_CURRENTS {currents}
#define SNN_FLASH_BYTES {flash}
#define SNN_RAM_BYTES {ram}
#define SNN_DT_MS {dt_ms!r}
#define SNN_OUTPUT_SCALE {scale!r}

typedef {types[target].name}_t snn_target;
typedef {types[delay].name}_t snn_delay;
typedef {types[weight].name}_t snn_weight;
typedef {types[current].name}_t snn_current;

#endif
