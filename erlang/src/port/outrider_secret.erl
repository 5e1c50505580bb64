%%% Keeps a secret out of every report: a term in a fun is shown as a fun.
%%%
%%% Supervisors show a child's arguments, crash reports show messages and states. A fun dies with the code that made it, at the
%%% second upgrade of its module: so this one has nothing else in it.
-module(outrider_secret).

-export([seal/1, open/1]).
-export_type([sealed/0]).

-type sealed() :: fun(() -> term()).

-spec seal(term()) -> sealed().
seal(Secret) ->
    fun() -> Secret end.

-spec open(sealed()) -> term().
open(Sealed) ->
    Sealed().
