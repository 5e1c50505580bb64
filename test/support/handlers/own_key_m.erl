%% A middleware that puts a key of its own into Req.
-module(own_key_m).
-behaviour(cowboy_middleware).

-export([execute/2]).

execute(Req, Env) ->
    {ok, Req#{own => <<"from a middleware">>}, Env}.
