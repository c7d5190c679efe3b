/* Runs the golden samples through the engine and compares every population: all spikes, all membranes of integrators.
 *
 *     ./golden              exit status 0 only when all is equal; else the first mismatch of each layer is printed
 *     ./golden --samples N  the first N samples
 *     ./golden --time       the time a step takes, and its cost in synaptic operations
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "golden.h"
#include "snn_engine.h"

typedef struct {
    unsigned long spikes, differing, sample, step, neuron;
} tally;

static snn_state state;
static uint8_t counts[SNN_INPUTS];
static uint8_t expected[SNN_NEURONS];
static int32_t outputs[SNN_OUTPUTS];
static tally tallies[SNN_POPULATIONS];

/* Events of a step as counts per channel. */
static void unpack(const golden_layer *layer, uint32_t size, uint32_t step, uint8_t *into)
{
    uint32_t i;
    memset(into, 0, size);
    for (i = layer->starts[step]; i < layer->starts[step + 1]; i++)
        into[layer->index[i]]++;
}

static void compare(uint32_t index, uint32_t sample, uint32_t step)
{
    const snn_population *population = &snn_populations[index];
    const golden_layer *layer = &golden_outputs[index];
    const uint32_t place = sample * GOLDEN_STEPS + step;
    tally *found = &tallies[index];
    uint32_t i;

    if (population->fires)
        unpack(layer, population->neurons, place, expected);
    for (i = 0; i < population->neurons; i++) {
        const int32_t got = population->fires ? state.spikes[population->first_neuron + i]
                                              : state.membrane[population->first_neuron + i];
        const int32_t want = population->fires ? expected[i] : layer->membrane[place * population->neurons + i];
        found->spikes += (unsigned long)(population->fires && got);
        if (got != want && !found->differing++) {
            found->sample = sample;
            found->step = step;
            found->neuron = i;
        }
    }
}

static int report(uint32_t samples)
{
    int status = 0;
    uint32_t index;
    for (index = 0; index < SNN_POPULATIONS; index++) {
        const snn_population *population = &snn_populations[index];
        const tally *found = &tallies[index];
        const unsigned long total = (unsigned long)samples * GOLDEN_STEPS * population->neurons;
        if (population->fires)
            printf("%s: %lu spikes (%.2f %%), ", population->name, found->spikes,
                   100.0 * (double)found->spikes / (double)total);
        else
            printf("%s: %lu membranes, ", population->name, total);
        if (found->differing) {
            status = 1;
            printf("first mismatch at (sample %lu, layer %s, t %lu, neuron %lu); %lu of %lu values of the layer differ\n",
                   found->sample, population->name, found->step, found->neuron, found->differing, total);
        } else {
            printf("equal\n");
        }
    }
    return status;
}

static int check(uint32_t samples)
{
    unsigned long long operations = 0;
    uint32_t sample, step, index;
    for (sample = 0; sample < samples; sample++) {
        snn_reset(&state);
        for (step = 0; step < GOLDEN_STEPS; step++) {
            unpack(&golden_inputs, SNN_INPUTS, sample * GOLDEN_STEPS + step, counts);
            if (snn_step(&state, counts, outputs) != SNN_OK) {
                printf("a current overflows at (sample %lu, layer %s, t %lu, neuron %lu)\n", (unsigned long)sample,
                       snn_populations[state.fault_population].name, (unsigned long)step,
                       (unsigned long)state.fault_neuron);
                return 1;
            }
            for (index = 0; index < SNN_POPULATIONS; index++)
                compare(index, sample, step);
        }
        operations += state.synaptic_operations;
    }
    printf("%lu samples of %d steps, %.1f synaptic operations a step\n", (unsigned long)samples, GOLDEN_STEPS,
           (double)operations / ((double)samples * GOLDEN_STEPS));
    return report(samples);
}

/* The engine alone: the inputs are unpacked before the clock starts. */
static int measure(uint32_t samples)
{
    uint8_t *all = malloc((size_t)samples * GOLDEN_STEPS * SNN_INPUTS);
    unsigned long long steps = 0, operations = 0;
    uint32_t i, sample;
    clock_t start;
    double seconds;

    if (!all) {
        printf("no memory for the inputs of %lu samples; use --samples\n", (unsigned long)samples);
        return 1;
    }
    for (i = 0; i < samples * GOLDEN_STEPS; i++)
        unpack(&golden_inputs, SNN_INPUTS, i, all + (size_t)i * SNN_INPUTS);
    start = clock();
    do {
        for (sample = 0; sample < samples; sample++) {
            snn_reset(&state);
            for (i = 0; i < GOLDEN_STEPS; i++)
                if (snn_step(&state, all + ((size_t)sample * GOLDEN_STEPS + i) * SNN_INPUTS, outputs) != SNN_OK) {
                    printf("a current overflows; run without --time to see where\n");
                    free(all);
                    return 1;
                }
            steps += GOLDEN_STEPS;
            operations += state.synaptic_operations;
        }
        seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    } while (seconds < 0.2);
    free(all);
    printf("%.3f microseconds a step, %.1f synaptic operations a step; state of %lu bytes\n",
           1e6 * seconds / (double)steps, (double)operations / (double)steps, (unsigned long)sizeof state);
    return 0;
}

int main(int argc, char **argv)
{
    uint32_t samples = GOLDEN_SAMPLES;
    int timed = 0, i;
    for (i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--time")) {
            timed = 1;
        } else if (!strcmp(argv[i], "--samples") && i + 1 < argc && atol(argv[i + 1]) > 0) {
            const unsigned long wanted = (unsigned long)atol(argv[++i]);
            if (wanted < samples)
                samples = (uint32_t)wanted;
        } else {
            printf("usage: %s [--time] [--samples N]\n", argv[0]);
            return 2;
        }
    }
    if (!samples) {
        printf("there are no samples to compare; export the network with samples\n");
        return 1;
    }
    return timed ? measure(samples) : check(samples);
}
