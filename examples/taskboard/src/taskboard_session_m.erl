%% A middleware between the router and the handlers: lets in who has a session, and puts `user` into Req.
%%
%% Others see the login, its style sheet and the figures only. A browser that asks for a page is sent to the login.
-module(taskboard_session_m).
-behaviour(cowboy_middleware).

-export([execute/2]).

execute(Req, Env) ->
    case taskboard_session:user(Req) of
        {ok, User} ->
            {ok, Req#{user => User}, Env};
        error ->
            case is_public(cowboy_req:path(Req)) of
                true -> {ok, Req, Env};
                false -> {stop, refuse(Req)}
            end
    end.

is_public(<<"/login">>) -> true;
is_public(<<"/metrics">>) -> true;
is_public(<<"/assets/", _/binary>>) -> true;
is_public(_) -> false.

refuse(Req) ->
    case cowboy_req:header(<<"accept">>, Req) of
        <<"text/html", _/binary>> -> cowboy_req:reply(303, #{<<"location">> => <<"/login">>}, Req);
        _ -> cowboy_req:reply(401, #{<<"content-type">> => <<"text/plain">>}, <<"no session">>, Req)
    end.
