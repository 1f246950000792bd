# Finds LibTorch inside the pip wheel, without find_package(Torch) (which demands a CUDA toolkit for CUDA wheels).
# Asks ${LRQAT_PYTHON} (default: the project's .venv, else python3) where torch lives. Defines TorchWheel::torch:
# headers as SYSTEM, the CPU libraries, torch's own OpenMP runtime, and -fopenmp for compiling only
# (at::parallel_for is a header template: without -fopenmp it runs serially and says nothing).
# Of a CUDA wheel, too, only the CPU libraries are linked: its libtorch_cuda.so wants a dozen of NVIDIA's libraries, and
# only `--device cuda` needs it, which loads it at run time (lrqat/model/cuda_library.h).
# Fallback: -DLRQAT_TORCH_ROOT=<unpacked LibTorch zip>.

if(NOT LRQAT_PYTHON AND EXISTS "${CMAKE_CURRENT_LIST_DIR}/../.venv/bin/python")
  set(LRQAT_PYTHON "${CMAKE_CURRENT_LIST_DIR}/../.venv/bin/python")
elseif(NOT LRQAT_PYTHON)
  set(LRQAT_PYTHON python3)
endif()
if(NOT LRQAT_TORCH_ROOT)
  execute_process(
    COMMAND ${LRQAT_PYTHON} -c "import importlib.util as u, pathlib; s = u.find_spec('torch'); print(pathlib.Path(s.origin).parent if s else '')"
    OUTPUT_VARIABLE LRQAT_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS "${LRQAT_TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found (looked in '${LRQAT_TORCH_ROOT}'). Run tools/setup.sh, or pass "
                      "-DLRQAT_PYTHON=<python with torch> or -DLRQAT_TORCH_ROOT=<LibTorch folder>.")
endif()
message(STATUS "LibTorch: ${LRQAT_TORCH_ROOT}")
# Another wheel in the same place: its libraries have other names, so what to link is found anew.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${LRQAT_TORCH_ROOT}/version.py")

if(NOT TARGET TorchWheel::torch)
  add_library(TorchWheel::torch INTERFACE IMPORTED)
  set_property(TARGET TorchWheel::torch PROPERTY INTERFACE_COMPILE_DEFINITIONS _GLIBCXX_USE_CXX11_ABI=1)
  set_property(TARGET TorchWheel::torch PROPERTY INTERFACE_COMPILE_OPTIONS -fopenmp)
  target_include_directories(TorchWheel::torch SYSTEM INTERFACE
               "${LRQAT_TORCH_ROOT}/include" "${LRQAT_TORCH_ROOT}/include/torch/csrc/api/include")
  # libstdc++ first: some wheels carry parts of it (std::filesystem) of another compiler, which must not be taken.
  set(torch_link stdc++ -Wl,-rpath,${LRQAT_TORCH_ROOT}/lib)
  if(EXISTS "${LRQAT_TORCH_ROOT}/lib/libtorch_cuda.so")
    # The CPU library of a CUDA wheel loads libcudart and libcupti, which are wheels beside torch.
    file(GLOB torch_cudart "${LRQAT_TORCH_ROOT}/lib/libcudart*.so*" "${LRQAT_TORCH_ROOT}/../nvidia/*/lib/libcudart.so*")
    if(NOT torch_cudart)
      message(WARNING "The LibTorch in ${LRQAT_TORCH_ROOT} is a CUDA build, and libcudart, which it loads, is not beside "
                      "it. Run tools/setup.sh, or install requirements-cudart.txt.")
    endif()
    file(GLOB torch_nvidia "${LRQAT_TORCH_ROOT}/../nvidia/*/lib")
    foreach(folder ${torch_nvidia})
      list(APPEND torch_link -Wl,-rpath-link,${folder})
    endforeach()
  endif()
  list(APPEND torch_link "${LRQAT_TORCH_ROOT}/lib/libtorch_cpu.so" "${LRQAT_TORCH_ROOT}/lib/libc10.so")
  file(GLOB torch_openmp "${LRQAT_TORCH_ROOT}/lib/libgomp*.so*" "${LRQAT_TORCH_ROOT}/../torch.libs/libgomp*.so*")
  if(torch_openmp)
    list(GET torch_openmp 0 torch_openmp)
    list(APPEND torch_link "${torch_openmp}")  # one OpenMP runtime in the process: torch's
  else()
    list(APPEND torch_link gomp)
  endif()
  set_property(TARGET TorchWheel::torch PROPERTY INTERFACE_LINK_LIBRARIES "${torch_link}")
endif()
