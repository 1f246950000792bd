# Run when a test executable has been linked: writes FILE, which registers every suite of EXECUTABLE with ctest as one test
# PREFIX.Suite. One process a suite and not one a test: loading LibTorch takes longer than most tests.
execute_process(COMMAND "${EXECUTABLE}" --gtest_list_tests OUTPUT_VARIABLE listed RESULT_VARIABLE code TIMEOUT 120)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${EXECUTABLE} --gtest_list_tests ended with ${code}")
endif()
# Suites begin a line, "Suite." or "Instance/Suite/0.  # TypeParam = …"; tests are indented.
string(REGEX MATCHALL "(^|\n)[A-Za-z0-9_/]+\\." suites "${listed}")
if(NOT suites)
  message(FATAL_ERROR "${EXECUTABLE} has no tests")
endif()
set(text "")
foreach(suite ${suites})
  string(REGEX REPLACE "^\n|\\.$" "" suite "${suite}")
  string(APPEND text "add_test([==[${PREFIX}.${suite}]==] [==[${EXECUTABLE}]==] [==[--gtest_filter=${suite}.*]==])\n"
                     "set_tests_properties([==[${PREFIX}.${suite}]==] PROPERTIES ${PROPERTIES})\n")
endforeach()
file(WRITE "${FILE}" "${text}")
