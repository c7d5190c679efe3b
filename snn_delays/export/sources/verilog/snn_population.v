// A population of neurons with a delay per synapse, in integers. One event at a time, one memory of each kind with
// one registered read port: a reference to be read and compared with, not the fastest.
//
//     h = trunc(v * DECAY_CODE / 2^DECAY_BITS) + x * 2^WEIGHT_SHIFT + bias,   saturated to +-LIMIT
//     fires where h > THRESHOLD (STRICT) or h >= THRESHOLD;   then v = 0 (hard) or h - THRESHOLD (SOFT_RESET), else v = h
//
// Both channels carry tokens (valid and ready, taken at the clock edge where both are high): an event (index, value) or,
// with `end` high, the end of a step. An input event is `value` spikes of source `index`; an output event is a spike of
// neuron `index` (value 1), or, where FIRES is 0, the membrane of each neuron. So populations chain without glue.
//
// A spike of step t with delay d arrives in step t + d: its weight is added into row (now + d) of a ring of RING_ROWS
// steps; row `now` is consumed and cleared at the end of the step. Own spikes (RECURRENT) walk the rows after the
// sources' and have delays of 1 or more.
//
// Images ($readmemh): rows [first synapse of each source, and the end of the last]; synapses {delay, weight, target},
// target in the low bits; biases, two's complement.
module snn_population #(
    parameter SOURCES = 1,
    parameter NEURONS = 1,
    parameter ROWS = 2,           // words of the image of rows
    parameter SYNAPSES = 1,
    parameter RING_ROWS = 1,      // longest delay + 1
    parameter INDEX_BITS = 1,     // of an input event
    parameter ROW_BITS = 1,       // of a number of a row
    parameter COUNT_BITS = 1,     // of an input event's value
    parameter TARGET_BITS = 1,
    parameter WEIGHT_BITS = 2,    // sign included
    parameter DELAY_BITS = 1,
    parameter POINTER_BITS = 1,
    parameter CURRENT_BITS = 2,   // wide enough for all synapses of a neuron at once
    parameter BIAS_BITS = 2,
    parameter STATE_BITS = 24,
    parameter DECAY_BITS = 12,
    parameter WEIGHT_SHIFT = 6,
    parameter DECAY_CODE = 0,
    parameter THRESHOLD = 1,
    parameter FIRES = 1,
    parameter RECURRENT = 0,
    parameter SOFT_RESET = 0,
    parameter STRICT = 1,
    parameter ROWS_FILE = "rows.hex",
    parameter SYNAPSES_FILE = "synapses.hex",
    parameter BIAS_FILE = "bias.hex"
) (
    input wire clock,
    input wire reset, // clears ring and membranes, which takes RING_ROWS * 2^TARGET_BITS cycles
    input wire in_valid,
    output wire in_ready,
    input wire in_end,
    input wire [INDEX_BITS-1:0] in_index,
    input wire [COUNT_BITS-1:0] in_value,
    output wire out_valid,
    input wire out_ready,
    output wire out_end,
    output wire [TARGET_BITS-1:0] out_index,
    output wire signed [STATE_BITS-1:0] out_value,
    output reg overflow,      // a current exceeded LIMIT, where chips wrap around; holds until reset
    output reg synapse_walked // high for a cycle at each synaptic operation
);
    localparam [3:0] CLEAR = 0, TOKEN = 1, ROW_BEGIN = 2, ROW_END = 3, ROW_CHECK = 4, SYNAPSE_READ = 5, RING_READ = 6,
                     RING_WRITE = 7, NEURON_READ = 8, NEURON_WRITE = 9, EVENT_OUT = 10, NEURON_NEXT = 11, END_OUT = 12;
    localparam WORD_BITS = DELAY_BITS + WEIGHT_BITS + TARGET_BITS;
    localparam SLOT_BITS = DELAY_BITS;
    localparam RING_BITS = SLOT_BITS + TARGET_BITS;
    localparam RING_WORDS = RING_ROWS << TARGET_BITS;
    // Of a sum of a leaked membrane, a current that fits STATE_BITS and a bias.
    localparam SUM_BITS = (STATE_BITS > BIAS_BITS ? STATE_BITS : BIAS_BITS) + 2;
    localparam PRODUCT_BITS = STATE_BITS + DECAY_BITS + 1;
    localparam SHIFTED_BITS = CURRENT_BITS + WEIGHT_SHIFT + STATE_BITS;

    reg [POINTER_BITS-1:0] rows [0:ROWS-1];
    reg [WORD_BITS-1:0] synapses [0:SYNAPSES-1];
    reg signed [BIAS_BITS-1:0] biases [0:NEURONS-1];
    reg signed [CURRENT_BITS-1:0] ring [0:RING_WORDS-1];
    reg signed [STATE_BITS-1:0] membranes [0:NEURONS-1];

    initial begin
        $readmemh(ROWS_FILE, rows);
        $readmemh(SYNAPSES_FILE, synapses);
        $readmemh(BIAS_FILE, biases);
    end

    reg [3:0] state;
    reg [RING_BITS-1:0] clearing;
    reg [SLOT_BITS-1:0] now;           // row of the ring that this step consumes
    reg [TARGET_BITS-1:0] neuron;
    reg [ROW_BITS-1:0] row;            // being walked
    reg [COUNT_BITS-1:0] amount;
    reg own;                           // the row is of an own spike: back to the neurons when it is done
    reg [POINTER_BITS-1:0] synapse, last;
    reg fired;
    reg signed [STATE_BITS-1:0] emitted;

    // Memories, each read at one address and registered.
    reg [POINTER_BITS-1:0] rows_read;
    reg [WORD_BITS-1:0] word;
    reg signed [BIAS_BITS-1:0] bias;
    reg signed [CURRENT_BITS-1:0] current;
    reg signed [STATE_BITS-1:0] membrane;

    wire [TARGET_BITS-1:0] target = word[TARGET_BITS-1:0];
    wire signed [WEIGHT_BITS-1:0] weight = word[TARGET_BITS+WEIGHT_BITS-1:TARGET_BITS];
    wire [DELAY_BITS-1:0] delay = word[WORD_BITS-1:TARGET_BITS+WEIGHT_BITS];
    wire [SLOT_BITS:0] later = {1'b0, now} + {1'b0, delay};
    wire [SLOT_BITS:0] wrapped = later >= RING_ROWS ? later - RING_ROWS : later;
    wire updating = state == NEURON_WRITE;
    wire of_neuron = state == NEURON_READ || updating;
    wire [RING_BITS-1:0] place =
        state == CLEAR ? clearing : of_neuron ? {now, neuron} : {wrapped[SLOT_BITS-1:0], target};

    wire signed [CURRENT_BITS-1:0] added = weight * $signed({1'b0, amount}); // fits, as all sums do

    // The update of a neuron; its operands rest at 0 while rows are walked. Truncation is towards zero: the magnitude is
    // decayed. Membranes never reach -2^(STATE_BITS-1).
    localparam signed [STATE_BITS-1:0] LIMIT = {1'b0, {(STATE_BITS - 1){1'b1}}};
    localparam signed [STATE_BITS-1:0] LOWEST = -LIMIT;
    localparam signed [SUM_BITS-1:0] SUM_LIMIT = {{(SUM_BITS - STATE_BITS){1'b0}}, LIMIT};
    localparam signed [SHIFTED_BITS-1:0] CURRENT_LIMIT = {{(SHIFTED_BITS - STATE_BITS){1'b0}}, LIMIT};
    wire signed [CURRENT_BITS-1:0] x = updating ? current : {CURRENT_BITS{1'b0}};
    wire signed [STATE_BITS-1:0] v = updating ? membrane : {STATE_BITS{1'b0}};
    wire signed [SHIFTED_BITS-1:0] shifted = {{(SHIFTED_BITS - CURRENT_BITS){x[CURRENT_BITS-1]}}, x} << WEIGHT_SHIFT;
    wire too_large = shifted > CURRENT_LIMIT || shifted < -CURRENT_LIMIT;
    wire [STATE_BITS-1:0] magnitude = v[STATE_BITS-1] ? -v : v;
    wire [PRODUCT_BITS-1:0] product = {{(DECAY_BITS + 1){1'b0}}, magnitude} * {{STATE_BITS{1'b0}}, DECAY_CODE[DECAY_BITS:0]};
    wire [STATE_BITS-1:0] decayed = product[DECAY_BITS+STATE_BITS-1:DECAY_BITS];
    wire [STATE_BITS-1:0] leaked = v[STATE_BITS-1] ? -decayed : decayed;
    wire signed [SUM_BITS-1:0] sum = {{(SUM_BITS - STATE_BITS){leaked[STATE_BITS-1]}}, leaked}
                                     + {{(SUM_BITS - STATE_BITS){shifted[STATE_BITS-1]}}, shifted[STATE_BITS-1:0]}
                                     + {{(SUM_BITS - BIAS_BITS){bias[BIAS_BITS-1]}}, bias};
    wire signed [STATE_BITS-1:0] h = sum > SUM_LIMIT ? LIMIT : sum < -SUM_LIMIT ? LOWEST : sum[STATE_BITS-1:0];
    wire signed [STATE_BITS-1:0] threshold = THRESHOLD[STATE_BITS-1:0];
    wire fires = FIRES != 0 && (h > threshold || (STRICT == 0 && h == threshold));
    wire signed [STATE_BITS-1:0] after_spike = SOFT_RESET != 0 ? h - threshold : {STATE_BITS{1'b0}};

    assign in_ready = state == TOKEN;
    assign out_valid = state == EVENT_OUT || state == END_OUT;
    assign out_end = state == END_OUT;
    assign out_index = neuron;
    assign out_value = emitted;

    always @(posedge clock) begin
        rows_read <= rows[state == ROW_BEGIN ? row : row + 1'b1];
        word <= synapses[synapse];
        bias <= biases[neuron];
        membrane <= membranes[neuron];
        current <= ring[place];
    end

    wire ring_write = state == CLEAR || state == RING_WRITE || updating;
    wire membrane_write = (state == CLEAR && clearing < NEURONS) || updating;
    always @(posedge clock) begin
        if (ring_write) ring[place] <= state == RING_WRITE ? current + added : {CURRENT_BITS{1'b0}};
        if (membrane_write)
            membranes[state == CLEAR ? clearing[TARGET_BITS-1:0] : neuron] <=
                state == CLEAR ? {STATE_BITS{1'b0}} : fires ? after_spike : h;
    end

    always @(posedge clock) begin
        synapse_walked <= 1'b0;
        if (reset) begin
            state <= CLEAR;
            clearing <= 0;
            now <= 0;
            neuron <= 0;
            overflow <= 1'b0;
        end else case (state)
            CLEAR: begin
                clearing <= clearing + 1'b1;
                if (clearing == RING_WORDS - 1) state <= TOKEN;
            end
            TOKEN: if (in_valid) begin
                row <= in_index;
                amount <= in_value;
                own <= 1'b0;
                neuron <= 0;
                state <= in_end ? NEURON_READ : ROW_BEGIN;
            end
            ROW_BEGIN: state <= ROW_END;
            ROW_END: begin
                synapse <= rows_read;
                state <= ROW_CHECK;
            end
            ROW_CHECK: begin
                last <= rows_read;
                state <= synapse != rows_read ? SYNAPSE_READ : own ? NEURON_NEXT : TOKEN;
            end
            SYNAPSE_READ: state <= RING_READ;
            RING_READ: state <= RING_WRITE;
            RING_WRITE: begin
                synapse_walked <= 1'b1;
                synapse <= synapse + 1'b1;
                state <= synapse + 1'b1 != last ? SYNAPSE_READ : own ? NEURON_NEXT : TOKEN;
            end
            NEURON_READ: state <= NEURON_WRITE;
            NEURON_WRITE: begin
                if (too_large) overflow <= 1'b1;
                fired <= fires;
                emitted <= FIRES != 0 ? 1 : h;
                state <= fires || FIRES == 0 ? EVENT_OUT : NEURON_NEXT;
            end
            EVENT_OUT: if (out_ready) begin
                row <= SOURCES + neuron;
                amount <= 1;
                own <= 1'b1;
                state <= RECURRENT != 0 && fired ? ROW_BEGIN : NEURON_NEXT;
            end
            NEURON_NEXT: begin
                neuron <= neuron + 1'b1;
                state <= neuron == NEURONS - 1 ? END_OUT : NEURON_READ;
            end
            END_OUT: if (out_ready) begin
                now <= now == RING_ROWS - 1 ? 0 : now + 1'b1;
                state <= TOKEN;
            end
            default: state <= CLEAR;
        endcase
    end
endmodule
