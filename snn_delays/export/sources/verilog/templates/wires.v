    wire valid{p.number}, ready{p.number}, end{p.number}, overflow{p.number};
    wire [`P{p.number}_TARGET_BITS-1:0] index{p.number};
    wire signed [`P{p.number}_STATE_BITS-1:0] value{p.number};
