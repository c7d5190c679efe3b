{checks}
    wire any_failed = {failed};
    wire [31:0] finished = step{last};
    task report_all;
        begin
{reports}
        end
    endtask
