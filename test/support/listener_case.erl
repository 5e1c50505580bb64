%% The scene of the suites about listeners that start them themselves.
-module(listener_case).

-export([each/2]).

%% What this fun gives for each server: the same, and this. The fun gets the module to start and stop with, and the one
%% that knows ranch's functions.
-spec each(fun((cowboy | outrider, RanchApi :: module()) -> term()), term()) -> ok.
each(Look, Expected) ->
    same_test:start(same_test:servers()),
    Wanted = [{Name, Expected} || Name <- same_test:servers()],
    Wanted = [{Name, transcript:plain(Look(Name, same_test:ranch_api(Name)))} || Name <- same_test:servers()],
    ok.
