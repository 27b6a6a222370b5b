function mpc = five_bus
%FIVE_BUS  Five buses in a mesh, made up for the documentation of gridproblems.
mpc.version = '2';
mpc.baseMVA = 100;
%   number type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin
mpc.bus = [
    1   3   0   0   0   0    1   1     0   110   1   1.05  0.95;
    2   2   20  8   0   0    1   1     0   110   1   1.05  0.95;
    3   1   45  18  0   0    1   1     0   110   1   1.05  0.95;
    4   1   40  15  0   0    1   1     0   110   1   1.05  0.95;
    5   2   30  12  0   0    1   1     0   110   1   1.05  0.95;
];
%   bus Pg Qg Qmax Qmin Vg mBase status Pmax Pmin
mpc.gen = [
    1   0   0   80  -60  1.0   150  1  200  0;
    2   40  0   50  -40  1.0   100  1  80   0;
    5   30  0   40  -30  0.98  100  1  60   0;
];
%   from to r x b rateA rateB rateC ratio angle status
mpc.branch = [
    1   2   0.02   0.06   0.03   120  0  0  0  0  1;
    1   3   0.05   0.18   0.02   90   0  0  0  0  1;
    2   3   0.04   0.14   0.02   90   0  0  0  0  1;
    2   4   0.05   0.16   0.02   90   0  0  0  0  1;
    2   5   0.03   0.11   0.015  90   0  0  0  0  1;
    3   4   0.02   0.06   0.01   90   0  0  0  0  1;
    4   5   0.05   0.18   0.02   90   0  0  0  0  1;
];
mpc.gencost = [
    2   0   0   3   0.01   30   0;
    2   0   0   3   0.02   25   0;
    2   0   0   3   0.02   28   0;
];
