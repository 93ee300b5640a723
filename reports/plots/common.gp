# Draws @NAME@.svg from @DATA@. Run it in its own folder: gnuplot @NAME@.gp
set terminal svg size @WIDTH@,@HEIGHT@ dynamic font "sans-serif,12" name "@ID@" background rgb "#FFFFFF"
set output "@NAME@.svg"
set encoding utf8
set datafile missing "-"
set linetype 1 lc rgb "#0072B2" lw 1.4
set linetype 2 lc rgb "#E69F00" lw 1.4
set linetype 3 lc rgb "#D55E00" lw 1.4
set linetype 4 lc rgb "#009E73" lw 1.4
set linetype 5 lc rgb "#CC79A7" lw 1.4
set linetype 6 lc rgb "#56B4E9" lw 1.4
set border 3 lc rgb "#333333" lw 0.6
set tics nomirror scale 0.5 textcolor rgb "#333333"
set grid ytics lc rgb "#DDDDDD" lt 1 lw 0.6
set lmargin at screen 0.08
set rmargin at screen 0.985
set bmargin at screen 42.0 / @HEIGHT@
set tmargin at screen 1 - @TOP@.0 / @HEIGHT@
set label 1 "@TITLE@" at screen 0, 1 - 16.0 / @HEIGHT@ left noenhanced textcolor rgb "#333333" font ",14" front
set key at screen 0.985, 1 - 16.0 / @HEIGHT@ right horizontal maxrows 1 samplen 1.5 textcolor rgb "#333333" noenhanced
set xlabel "@XLABEL@" noenhanced textcolor rgb "#333333" offset 0,0.5
set ylabel "@YLABEL@" noenhanced textcolor rgb "#333333"
