%% docs/cowboy-compatibility.md and the suites say the same: what a suite lets differ has a row (same_test sees to that),
%% and what the page names is there.
-module(compatibility_SUITE).

-export([all/0, every_intended_difference_is_tested/1, every_test_that_the_page_names_is_there/1]).

all() ->
    [every_intended_difference_is_tested, every_test_that_the_page_names_is_there].

every_intended_difference_is_tested(_) ->
    [_ | _] = Differences = compatibility:differences(),
    Suites = compatibility:suites(),
    [] = [Name || Name <- Differences, re:run(Suites, ["\\b", Name, "\\b"]) =:= nomatch].

every_test_that_the_page_names_is_there(_) ->
    [_ | _] = Tests = compatibility:tests(),
    [] = [Test || {Suite, Case} = Test <- Tests,
        not lists:member(Case, [atom_to_binary(Name) || Name <- same_test:cases(binary_to_atom(Suite))])].
