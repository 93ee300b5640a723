set logscale y
set ytics (@TIMETICS@)
set yrange [@YMIN@:@YMAX@]
plot "@DATA@" using 1:5 with steps lc rgb "#333333" lw 0.7 title "slowest", \
	"" using 1:4 with steps lc rgb "#D55E00" lw 1.8 title "p99", \
	"" using 1:3 with steps lc rgb "#0072B2" lw 1.8 title "p50"
