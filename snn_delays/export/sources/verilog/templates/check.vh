    wire failed{p.number};
    wire [31:0] step{p.number};
    golden_check #(.NAME("{p.name}"), .NEURONS({p.neurons}), .FIRES({p.fires:d}),
        .INDEX_BITS({w[TARGET_BITS]}), .VALUE_BITS({p.numbers.state_bits}),
        .WORD_BITS({golden.bits}), .WORDS({words}), .FILE("{golden.file}")) check{p.number} (
        .clock(clock), .restart(reset), .sample(sample),
        .taken(dut.p{p.number}.out_valid && dut.p{p.number}.out_ready),
        .is_end(dut.p{p.number}.out_end), .index(dut.p{p.number}.out_index), .value(dut.p{p.number}.out_value),
        .overflow(dut.p{p.number}.overflow), .neuron(dut.p{p.number}.neuron), .walked(dut.p{p.number}.synapse_walked),
        .failed(failed{p.number}), .step(step{p.number}));
