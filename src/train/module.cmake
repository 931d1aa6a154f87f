# The element-wise loops want full optimisation in every build type; sums may be regrouped so that they
# vectorise, but NaN and infinity keep their meaning.
set(loops "-O3;-fno-math-errno;-fno-trapping-math;-fno-signed-zeros;-fassociative-math;-freciprocal-math")
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/train/ops.c ${CMAKE_SOURCE_DIR}/src/train/optim.c
                            PROPERTIES COMPILE_OPTIONS "${loops}")
