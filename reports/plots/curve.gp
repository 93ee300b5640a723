unset xlabel
set xlabel "share of transactions answered within that time" noenhanced textcolor rgb "#333333" offset 0,0.5
set logscale xy
set xrange [1:@XMAX@]
set xtics ("0 %%" 1, "50 %%" 2, "90 %%" 10, "99 %%" 100, "99.9 %%" 1000, "99.99 %%" 10000, "99.999 %%" 100000, "99.9999 %%" 1000000)
set grid xtics ytics lc rgb "#DDDDDD" lt 1 lw 0.6
set ytics (@TIMETICS@)
set yrange [@YMIN@:@YMAX@]
plot @CURVES@
